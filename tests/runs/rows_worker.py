"""A process that writes a shard until it is killed: `python rows_worker.py FOLDER ROWS`; says each row it gives."""

import sys
import time

import pyarrow as pa

from palign_hf.runs.shards import OutputFolder, Shard


SCHEMA = pa.schema([("number", pa.int64())])


def main() -> None:
    output = OutputFolder(sys.argv[1], {"fingerprint": "f"})
    part = output.shard(Shard(), SCHEMA, lambda row: False, rows=2)

    def rows():
        for number in range(part.done, int(sys.argv[2])):
            print(number, flush=True)
            yield {"number": number}
        time.sleep(600)  # until it is killed

    part.write(rows())


if __name__ == "__main__":
    main()
