"""Prints what TensorBoard's own reader finds in a run's folder, as JSON. Exit status 77: the package is not installed.

    read_events.py FOLDER
"""
import json
import struct
import sys

try:
    from tensorboard.backend.event_processing import event_accumulator
except ImportError as error:
    print(f"{sys.executable}: {error}", file=sys.stderr)
    sys.exit(77)

accumulator = event_accumulator.EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "images": 0})
accumulator.Reload()
tags = accumulator.Tags()


def png_size(png):
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", png[16:24])


print(json.dumps({
    "scalars": {tag: [[p.step, p.value] for p in accumulator.Scalars(tag)] for tag in tags["scalars"]},
    "images": {tag: [[p.step, p.width, p.height, *png_size(p.encoded_image_string)] for p in accumulator.Images(tag)]
               for tag in tags["images"]},
}))
