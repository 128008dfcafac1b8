"""Other ways to get the records of endpoint_data.h into a batch tensor: what ours are compared with.

Started by endpoint_benchmark and folder_benchmark, which send one line for each measurement and take the bytes
that were read as the answer. Needs, for Flight, pyarrow; for the rest h5py, webdataset, mosaicml-streaming and
pylance (all from PyPI).

    endpoint_anchors.py flight-server BLOCK_FILE ORDER_FILE BLOCK_BYTES
    endpoint_anchors.py flight-client PORT BLOCK_BYTES
    endpoint_anchors.py hdf5|lance|mds|webdataset FOLDER BLOCK_FILE ORDER_FILE BLOCK_BYTES
"""

import io
import os
import sys
import tarfile

import numpy as np

BATCH = 32


def say(line):
    print(line, flush=True)


def serve(read):
    """Answers each line of standard input with read(line)."""
    say("ready")
    for line in sys.stdin:
        say(read(line.strip()))


class Records:
    """The blocks of a file, mapped, and the order of an epoch."""

    def __init__(self, block_file, order_file, block_bytes):
        self.block_bytes = int(block_bytes)
        self.order = np.fromfile(order_file, np.uint32)
        self.blocks = np.memmap(block_file, np.uint8, "r").reshape(len(self.order), self.block_bytes)


class Batch:
    """The tensor that everything is read into."""

    def __init__(self, block_bytes):
        self.rows = np.ones((BATCH, block_bytes), np.uint8)
        self.clear()

    def clear(self):
        self.count = 0
        self.bytes = 0

    def add(self, values):
        self.rows[self.count % BATCH] = values
        self.count += 1
        self.bytes += values.nbytes


def arrow_file(path, records, kind):
    """A mapped Arrow file with a batch for each record."""
    import pyarrow as pa

    schema = pa.schema([("record", kind)])
    if not os.path.exists(path):
        with pa.OSFile(path + ".part", "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for block in records.blocks:
                column = pa.FixedSizeBinaryArray.from_buffers(kind, 1, [None, pa.py_buffer(block.tobytes())])
                writer.write_batch(pa.record_batch([column], schema=schema))
        os.rename(path + ".part", path)
    return pa.ipc.open_file(pa.memory_map(path))


def flight_server(block_file, order_file, block_bytes):
    import pyarrow as pa
    import pyarrow.flight as flight

    records = Records(block_file, order_file, block_bytes)
    whole = pa.py_buffer(records.blocks)
    kind = pa.binary(records.block_bytes)

    def column(index):
        values = whole.slice(index * records.block_bytes, records.block_bytes)
        return pa.FixedSizeBinaryArray.from_buffers(kind, 1, [None, values])

    def batches(size):
        """Record batches of one row whose columns point into the map: nothing is copied, and nothing of Python
        runs while they are sent."""
        schema = pa.schema([(f"record{i}", kind) for i in range(size)])
        order = [int(i) for i in records.order]
        return schema, [
            pa.record_batch([column(i) for i in order[first : first + size]], schema=schema)
            for first in range(0, len(order), size)
        ]

    made = {size: batches(size) for size in (1, 8)}
    file = arrow_file(block_file + ".arrow", records, kind)

    def from_file():
        """As a server of an Arrow file is usually written."""
        for i in records.order:
            yield file.get_batch(int(i))

    class Server(flight.FlightServerBase):
        def do_get(self, context, ticket):
            if ticket.ticket == b"file":
                return flight.GeneratorStream(file.schema, from_file())
            schema, rows = made[int(ticket.ticket)]
            return flight.RecordBatchStream(pa.RecordBatchReader.from_batches(schema, rows))

    server = Server("grpc://127.0.0.1:0")
    say(f"ready {server.port}")
    server.serve()


def flight_client(port, block_bytes):
    import pyarrow.flight as flight

    client = flight.connect(f"grpc://127.0.0.1:{port}")
    batch = Batch(int(block_bytes))

    def read(ticket):
        batch.clear()
        width = batch.rows.shape[1]
        for chunk in client.do_get(flight.Ticket(ticket.encode())):
            for column in chunk.data.columns:
                values = np.frombuffer(column.buffers()[1], np.uint8)
                for row in range(column.offset, column.offset + len(column)):
                    batch.add(values[row * width : (row + 1) * width])
        return batch.bytes

    serve(read)


def hdf5(folder, records, batch):
    import h5py

    path = os.path.join(folder, "records.h5")
    if not os.path.exists(path):
        with h5py.File(path + ".part", "w") as file:
            # A chunk per record, as whoever reads in random order lays it out.
            data = file.create_dataset(
                "records", records.blocks.shape, np.uint8, chunks=(1, records.block_bytes)
            )
            for i, block in enumerate(records.blocks):
                data[i] = block
        os.rename(path + ".part", path)
    data = h5py.File(path, "r")["records"]

    def read(_):
        batch.clear()
        for i in records.order:
            data.read_direct(batch.rows, np.s_[i], np.s_[batch.count % BATCH])
            batch.count += 1
        return batch.count * records.block_bytes

    serve(read)


def lance(folder, records, batch):
    import lance
    import pyarrow as pa

    path = os.path.join(folder, "records.lance")
    if not os.path.exists(path):
        schema = pa.schema([("record", pa.binary())])

        def rows():
            for first in range(0, len(records.blocks), 64):
                yield pa.record_batch(
                    [pa.array([b.tobytes() for b in records.blocks[first : first + 64]], pa.binary())],
                    schema=schema,
                )

        lance.write_dataset(rows(), path, schema=schema)
    data = lance.dataset(path)

    def read(_):
        batch.clear()
        for first in range(0, len(records.order), BATCH):
            for record in data.take(records.order[first : first + BATCH].tolist()).column(0):
                batch.add(np.frombuffer(record.as_buffer(), np.uint8))
        return batch.bytes

    serve(read)


def mds(folder, records, batch):
    from streaming import MDSWriter, StreamingDataset

    path = os.path.join(folder, "mds")
    if not os.path.exists(os.path.join(path, "index.json")):
        with MDSWriter(out=path, columns={"record": "bytes"}) as writer:
            for block in records.blocks:
                writer.write({"record": block.tobytes()})
    data = StreamingDataset(local=path, shuffle=False, batch_size=BATCH)

    def read(_):
        batch.clear()
        # The global shuffle is ours: its own permutes shards and a window, and costs it more.
        for i in records.order:
            batch.add(np.frombuffer(data[int(i)]["record"], np.uint8))
        return batch.bytes

    serve(read)


def webdataset(folder, records, batch):
    import webdataset as wds

    path = os.path.join(folder, "records.tar")
    if not os.path.exists(path):
        with tarfile.open(path + ".part", "w") as tar:
            # Shuffled as it is written: a tar can only be read from front to back.
            for i in records.order:
                entry = tarfile.TarInfo(f"{i:08d}.bin")
                entry.size = records.block_bytes
                tar.addfile(entry, io.BytesIO(records.blocks[i].tobytes()))
        os.rename(path + ".part", path)

    def read(_):
        batch.clear()
        for record in wds.WebDataset(path, shardshuffle=False, empty_check=False):
            batch.add(np.frombuffer(record["bin"], np.uint8))
        return batch.bytes

    serve(read)


def main():
    kind, *arguments = sys.argv[1:]
    if kind == "flight-server":
        flight_server(*arguments)
    elif kind == "flight-client":
        flight_client(*arguments)
    else:
        folder, *files = arguments
        records = Records(*files)
        {"hdf5": hdf5, "lance": lance, "mds": mds, "webdataset": webdataset}[kind](
            folder, records, Batch(records.block_bytes)
        )


if __name__ == "__main__":
    main()
