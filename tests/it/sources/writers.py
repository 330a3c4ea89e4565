"""Files as other programs write them, thousands of variants, and what they hold by what was put in.

writers.py DIRECTORY SEED COUNT writes a directory for each variant and expected.jsonl, one object a line:
dir, dialect, only (keys or null), and one of
- rows: exactly these, with bad (number of unusable rows) and odd (rows with mended text);
- error: the message holds this;
- rows and or_error: exactly these, or any error (a damaged file);
- whole and partial: a file that was cut; these rows for certain, at most one more, which is counted if it is not there;
- lines: rows and unusable rows are so many together, or there is an error (a quote in a wrong place).
Rows are `userid|firstname|block`, `-` for nothing, in the order of their bytes.
"""

import csv
import gzip
import io
import json
import os
import random
import sys
import uuid

import pyarrow as pa
import pyarrow.parquet as pq

NAMES = ["userid", "firstname", "block"]
WORDS = ["Ann", "Bob", "José", "कमल", "", "", "x" * 40, "O'Neil", "-5", "null", "{'a': 1}", "😀"]
HARD = ['a "b" c', "a,b", "a\nb", "a\r\nb", "back\\slash", 'q\\"q', "tab\there", ' "x" ', '""', "\\", '","', "a\\,b", "a\\nb"]


def make_rows(draw, most, hard, lines=True):
    words = WORDS + (HARD if hard else [])
    if not lines:
        words = [word for word in words if "\n" not in word]
    count = draw.choice([0, 1, 2, 5, draw.randint(0, most)])
    return [(f"u{number:05d}", draw.choice(words), draw.choice(words)) for number in range(count)]


def shown(rows):
    return sorted(("|".join(cell if cell else "-" for cell in row) for row in rows), key=str.encode)


def packed(data, how):
    if how == ".gz":
        return gzip.compress(data)
    if how == ".zst":
        return pa.Codec("zstd").compress(data, asbytes=True)
    return data


def spell(draw, name):
    return draw.choice([name, name, name, name.upper(), name.title()])


class Variants:
    def __init__(self, directory, seed):
        self.directory, self.draw, self.number = directory, random.Random(seed), 0
        self.expected = open(os.path.join(directory, "expected.jsonl"), "w", encoding="utf-8")

    def add(self, files, dialect="rfc4180", only=None, **expected):
        """Files by their names below the variant's directory."""
        name = f"v{self.number:05d}"
        self.number += 1
        for path, data in files.items():
            path = os.path.join(self.directory, name, path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(data)
        line = {"dir": name, "dialect": dialect, "only": only, **expected}
        self.expected.write(json.dumps(line) + "\n")

    def some_keys(self, ids):
        if self.draw.random() < 0.5:
            return None
        return self.draw.sample(ids, self.draw.randint(0, min(len(ids), 5))) + ["nobody"]

    # Parquet

    def text_array(self, values, kind):
        """A column of text, bytes given, declared in one of the ways that writers have."""
        if kind == "invalid":
            offsets, data = [0], b""
            for value in values:
                data += value
                offsets.append(len(data))
            offsets = pa.array(offsets, pa.int32()).buffers()[1]
            return pa.StringArray.from_buffers(len(values), offsets, pa.py_buffer(data))
        texts = [value.decode() for value in values]
        nulls = [text if text or self.draw.random() < 0.5 else None for text in texts]
        if kind == "json":
            return pa.ExtensionArray.from_storage(pa.json_(), pa.array(nulls, pa.string()))
        if kind == "dictionary":
            return pa.array(nulls, pa.string()).dictionary_encode()
        return pa.array(nulls, {"string": pa.string(), "large": pa.large_string(), "binary": pa.binary()}[kind])

    def parquet_bytes(self, table, options):
        out = io.BytesIO()
        pq.write_table(table, out, **options)
        return out.getvalue()

    def parquet_options(self):
        draw = self.draw
        options = {
            "compression": draw.choice(["none", "snappy", "gzip", "zstd", "lz4"]),
            "version": draw.choice(["1.0", "2.4", "2.6"]),
            "data_page_version": draw.choice(["1.0", "2.0"]),
            "use_dictionary": draw.choice([True, False]),
            "write_statistics": draw.choice([True, False, ["userid"]]),
            "write_page_checksum": draw.choice([True, False]),
            "write_page_index": draw.choice([True, False]),
            "store_schema": draw.choice([True, False]),
            "row_group_size": draw.choice([1, 7, 100, 100000]),
            "data_page_size": draw.choice([64, 1024, 1 << 20]),
        }
        if not options["use_dictionary"] and draw.random() < 0.5:
            encoding = draw.choice(["PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
            options["column_encoding"] = {"firstname": encoding, "block": encoding}
        return options

    def parquet(self):
        draw = self.draw
        rows = make_rows(draw, draw.choice([30, 3000]), True)
        if draw.random() < 0.3:
            ids = [str(uuid.UUID(int=draw.getrandbits(128))) for _ in rows]
            keys = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([uuid.UUID(key).bytes for key in ids], pa.binary(16)))
            rows = [(key, *row[1:]) for key, row in zip(ids, rows)]
        else:
            ids = [row[0] for row in rows]
            keys = self.text_array([key.encode() for key in ids], draw.choice(["string", "large", "dictionary", "binary"]))
        odd = 0
        names = [row[1].encode() for row in rows]
        kind = draw.choice(["string", "large", "dictionary", "binary", "json", "invalid"])
        if kind == "invalid":
            names = [draw.choice([name, b"J\xfcrgen", b"\xe0\xa4", b"a\xff\xfeb"]) for name in names]
        rows = [(row[0], name.decode("utf-8", "replace"), row[2]) for row, name in zip(rows, names)]
        blocks = self.text_array([row[2].encode() for row in rows], draw.choice(["string", "dictionary"]))
        columns = {"userid": keys, "firstname": self.text_array(names, kind), "block": blocks}
        order = draw.sample(list(columns), 3)
        table = pa.table({spell(draw, name): columns[name] for name in order})
        options = self.parquet_options()
        if "column_encoding" in options:
            options["column_encoding"] = {
                name: encoding
                for name, encoding in zip(table.column_names, ["PLAIN"] * 3)
            } if not isinstance(keys, pa.StringArray) else options["column_encoding"]
            if set(options["column_encoding"]) - set(table.column_names):
                del options["column_encoding"]
        if isinstance(options["write_statistics"], list) and "userid" not in table.column_names:
            options["write_statistics"] = True
        data = self.parquet_bytes(table, options)
        only = self.some_keys(ids)
        wanted = [at for at, row in enumerate(rows) if only is None or row[0] in only]
        odd = sum(1 for at in wanted if b"" != names[at] and "\ufffd" in rows[at][1])
        expected = {"rows": shown(rows[at] for at in wanted), "bad": 0, "odd": odd}
        fate = draw.random()
        if fate < 0.15:
            data = data[: draw.randint(0, len(data) - 1)]
            self.add({"user.parquet": data}, only=only, or_error=True, **expected)
        elif fate < 0.3 and options["write_page_checksum"]:
            damaged = bytearray(data)
            group = pq.ParquetFile(io.BytesIO(data)).metadata
            chunks = [
                group.row_group(at).column(column)
                for at in range(group.num_row_groups)
                for column in range(3)
                if group.row_group(at).column(column).total_compressed_size > 300
            ]
            if not chunks:
                return self.add({"user.parquet": data}, only=only, **expected)
            chunk = draw.choice(chunks)
            start = min(at for at in (chunk.data_page_offset, chunk.dictionary_page_offset) if at)
            damaged[start + chunk.total_compressed_size - draw.randint(1, 20)] ^= 1 << draw.randrange(8)
            self.add({"user.parquet": bytes(damaged)}, only=only, or_error=True, **expected)
        elif fate < 0.5 and len(rows) > 1:
            at = draw.randint(1, len(rows) - 1)
            parts = [table.slice(0, at), table.slice(at)]
            files = {f"user/part-{n}.snappy.parquet": self.parquet_bytes(part, options) for n, part in enumerate(parts)}
            files["user/_SUCCESS"] = b""
            if draw.random() < 0.3:
                files["user/part-9.parquet"] = b""
            self.add(files, only=only, **expected)
        else:
            self.add({draw.choice(["user.parquet", "user.PARQUET"]): data}, only=only, **expected)

    def refused_parquet(self):
        draw = self.draw
        if draw.random() < 0.3:
            twice = draw.choice([["userid", "userid"], ["UserId", "USERID"]])
            data = self.parquet_bytes(pa.table([pa.array(["u1"]), pa.array(["u2"])], names=twice), {})
            return self.add({"user.parquet": data}, error="two columns that may be 'userid'")
        keys = pa.array(["u1", "u2"])
        brotli, raw = draw.random() < 0.5, draw.choice([3, 16])
        names = pa.array(["a", "b"]) if brotli else pa.array([b"x" * raw, b"y" * raw], pa.binary(raw))
        data = self.parquet_bytes(
            pa.table({"userid": keys, "firstname": names}), {"compression": "brotli" if brotli else "none"}
        )
        self.add({"user.parquet": data}, error="compressed with brotli" if brotli else f"'firstname' of {raw} raw bytes")

    # CSV

    def csv_text(self, rows, dialect, delimiter, end, header=True):
        draw = self.draw
        lines = ([tuple(spell(draw, name) for name in NAMES)] if header else []) + rows
        if dialect == "spark":
            def field(text):
                if not text or not any(c in text for c in ',"\\\n\r\t'):
                    return text
                return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
            return "".join(delimiter.join(map(field, line)) + end for line in lines)
        out = io.StringIO(newline="")
        options = {"delimiter": delimiter, "lineterminator": end}
        if dialect == "cqlsh":
            options |= {"escapechar": "\\", "doublequote": False}
        else:
            options["quoting"] = draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
        csv.writer(out, **options).writerows(lines)
        return out.getvalue()

    def csv(self):
        draw = self.draw
        dialect = draw.choice(["rfc4180", "rfc4180", "spark", "cqlsh"])
        rows = make_rows(draw, draw.choice([20, 400]), True)
        # The same text read by Python says what a field without quotes that looks like one is.
        name, delimiter = draw.choice([(".csv", ","), (".csv", ","), (".tsv", "\t")])
        end = draw.choice(["\n", "\r\n"])
        data = self.csv_text(rows, dialect, delimiter, end).encode()
        if draw.random() < 0.3:
            data = b"\xef\xbb\xbf" + data
        if draw.random() < 0.2:
            data += draw.choice([b"\n", b"\r\n\r\n"])
        how = draw.choice(["", "", ".gz", ".zst"])
        name = draw.choice([name, name.upper()]) + how
        only = self.some_keys([row[0] for row in rows])
        wanted = [row for row in rows if only is None or row[0] in only]
        expected = {"rows": shown(wanted), "bad": 0, "odd": 0}
        fate = draw.random()
        if fate < 0.12 and how:
            data = packed(data, how)
            cut = data[: draw.randint(0, len(data) - 5)]
            self.add({"user" + name: cut}, dialect, only, error="user" + name)
        elif fate < 0.3 and len(rows) > 1:
            at = draw.randint(1, len(rows) - 1)
            files = {
                f"user/p{n}{name}": packed(self.csv_text(part, dialect, delimiter, end).encode(), how)
                for n, part in enumerate([rows[:at], rows[at:]])
            }
            files |= {f"user/p8{name}": b"", f"user/p9{name}": packed(b"", how), "user/.p.crc": b"x"}
            self.add(files, dialect, only, **expected)
        else:
            self.add({"user" + name: packed(data, how)}, dialect, only, **expected)

    def cut_csv(self):
        draw = self.draw
        rows = make_rows(draw, 20, False, lines=False)
        data = self.csv_text(rows, "rfc4180", ",", "\n").encode()
        cut = draw.randint(0, len(data))
        text = data[:cut]
        whole = text.count(b"\n")
        if whole == 0:
            # A header, or a part of one.
            return self.add({"user.csv": text}, rows=[], bad=0, odd=0, or_error=True)
        self.add({"user.csv": text}, whole=shown(rows[: whole - 1]), partial=not text.endswith(b"\n"))

    def quoted_wrong(self):
        draw = self.draw
        rows = make_rows(draw, 20, False, lines=False)
        dialect = draw.choice(["rfc4180", "spark", "cqlsh"])
        data = self.csv_text(rows, "rfc4180", ",", "\n")
        header, rest = data.split("\n", 1)
        at = draw.randint(0, len(rest))
        rest = rest[:at] + draw.choice(['"', '\\"', '""', '"x', 'x"']) + rest[at:]
        self.add({"user.csv": f"{header}\n{rest}".encode()}, dialect, lines=rest.count("\n") + (not rest.endswith("\n")))

    # JSON lines

    def jsonl(self):
        draw = self.draw
        rows = make_rows(draw, draw.choice([20, 400]), True)
        names = {name: spell(draw, name) for name in NAMES}
        ascii_only, separators = draw.random() < 0.5, draw.choice([(",", ":"), (", ", ": ")])
        lines = []
        for row in rows:
            cells = [(names[name], cell or None) for name, cell in zip(NAMES, row)]
            if draw.random() < 0.5:
                cells = [(name, cell) for name, cell in cells if cell is not None]
            draw.shuffle(cells)
            lines.append(json.dumps(dict(cells), ensure_ascii=ascii_only, separators=separators))
        end = draw.choice(["\n", "\r\n"])
        text = "".join(line + draw.choice([end, end, end + end]) for line in lines)
        if draw.random() < 0.2:
            text = text.rstrip()
        data = (b"\xef\xbb\xbf" if draw.random() < 0.2 else b"") + text.encode()
        how = draw.choice(["", "", ".gz", ".zst"])
        name = "user" + draw.choice([".json", ".jsonl", ".ndjson", ".JSON"]) + how
        only = self.some_keys([row[0] for row in rows])
        wanted = [row for row in rows if only is None or row[0] in only]
        fate = draw.random()
        if not rows:
            self.add({name: packed(data, how)}, only=only, error="is empty: its upload probably broke off")
        elif fate < 0.1:
            array = json.dumps([dict(zip(NAMES, row)) for row in rows], indent=draw.choice([None, 2])).encode()
            self.add({name: packed(array, how)}, only=only, error="is a JSON array")
        elif fate < 0.2:
            pretty = "\n".join(json.dumps(dict(zip(NAMES, row)), indent=2) for row in rows).encode()
            self.add({name: packed(pretty, how)}, only=only, error="over several lines")
        elif fate < 0.3:
            data = "".join(line + "\n" for line in lines).encode()
            cut = draw.randint(1, len(data))
            whole = data[:cut].count(b"\n")
            # The last line may be whole but for its end.
            partial = data[:cut].endswith(b"\n") is False
            if cut > 1 or not partial:
                self.add({"user.json": data[:cut]}, whole=shown(rows[:whole]), partial=partial)
        elif fate < 0.5 and len(rows) > 1:
            files = {f"user/part-{n:05d}-c000.json": (line + "\n").encode() for n, line in enumerate(lines)}
            files |= {"user/_SUCCESS": b"", "user/part-99999-c000.json": b""}
            self.add(files, only=only, rows=shown(wanted), bad=0, odd=0)
        else:
            self.add({name: packed(data, how)}, only=only, rows=shown(wanted), bad=0, odd=0)

    # Delta

    def delta(self):
        draw = self.draw
        by_block = draw.random() < 0.4
        live, files, commits = {}, {}, []
        for version in range(draw.randint(1, 6)):
            actions = []
            if version == 0:
                actions.append({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}})
                actions.append({"metaData": {
                    "id": "x", "format": {"provider": "parquet", "options": {}},
                    "partitionColumns": ["block"] if by_block else [], "configuration": {},
                }})
            gone = [path for path in live if draw.random() < 0.4]
            for path in gone:
                actions.append({"remove": {"path": path, "dataChange": True}})
                del live[path]
            for number in range(draw.randint(0, 2)):
                block = draw.choice(["a b", "x%y", "z", None])
                rows = [(f"u{version}{number}{at}", "n", (block or "") if by_block else "b") for at in range(draw.randint(0, 4))]
                name = f"part-{version}-{number}{draw.choice(['', ' x', '%41'])}.parquet"
                columns = {"userid": [row[0] for row in rows], "firstname": [row[1] for row in rows]}
                if not by_block:
                    columns["block"] = [row[2] for row in rows]
                table = pa.table({key: pa.array(value, pa.string()) for key, value in columns.items()})
                data = self.parquet_bytes(table, {})
                files[f"user/{name}"] = data
                path = name.replace("%", "%25").replace(" ", "%20")
                actions.append({"add": {
                    "path": path, "size": len(data), "dataChange": True, "modificationTime": 1,
                    "partitionValues": {"block": block} if by_block else {},
                }})
                live[path] = rows
            draw.shuffle(actions)
            commits.append("\n".join(json.dumps(action) for action in actions).encode() or b'{"commitInfo":{}}')
        # A file that no commit names.
        table = pa.table({"userid": ["nobody"], "firstname": ["n"], "block": ["b"]})
        files["user/stray.parquet"] = self.parquet_bytes(table, {})
        for version, commit in enumerate(commits):
            files[f"user/_delta_log/{version:020d}.json"] = commit
        rows = shown(row for of in live.values() for row in of)
        fate = draw.random()
        if fate < 0.15 and len(commits) > 1:
            del files[f"user/_delta_log/{draw.randrange(len(commits)):020d}.json"]
            # The last commit alone cannot be missed.
            last = f"user/_delta_log/{len(commits) - 1:020d}.json"
            if last not in files:
                files[last.replace(".json", ".crc")] = b"{}"
            self.add(files, error="lacks commits")
        elif fate < 0.25 and live:
            path = draw.choice(list(live)).replace("%20", " ").replace("%25", "%")
            del files[f"user/{path}"]
            self.add(files, error="is not there")
        else:
            self.add(files, rows=rows, bad=0, odd=0)


def main():
    directory, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    variants = Variants(directory, seed)
    kinds = (
        [variants.parquet] * 8 + [variants.csv] * 7 + [variants.jsonl] * 4 + [variants.delta] * 3
        + [variants.cut_csv] * 2 + [variants.quoted_wrong] * 3 + [variants.refused_parquet]
    )
    while variants.number < count:
        variants.draw.choice(kinds)()


main()
