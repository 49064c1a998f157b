#!/usr/bin/env python3
"""Writes the seed corpus: small, odd and honest inputs for every target. Deterministic; run it from anywhere."""

import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent / "corpus"


def write(target, name, data):
    folder = ROOT / target
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    (folder / name).write_bytes(data)


def obj(name="a", version="7", **more):
    meta = {"name": name, "namespace": "default", "uid": "u-" + name, "resourceVersion": version}
    meta.update(more.pop("meta", {}))
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": meta, **more}


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


STRINGS = {
    "empty": '""', "escape": '"\\"\\\\\\/\\b\\f\\n\\r\\t"', "unicode": '"\\u00e4\\u4e2d"', "pair": '"\\ud83d\\ude00"',
    "lone-high": '"\\ud800"', "lone-low": '"\\udc00"', "nul": '"\\u0000"', "quote-end": '"\\\\"', "open": '"abc',
    "backslash-end": '"abc\\', "bad-escape": '"\\x"', "short-u": '"\\u12"', "utf8": '"äöü中😀"', "del": '"\x7f"',
    "control": '"\x01"', "brackets": '"{[}]"', "comma": '",:"',
}
VALUES = {
    "null": "null", "true": "true", "zero": "0", "minus": "-0", "big": "1" * 400, "float": "1e999", "nan": "NaN",
    "leading-zero": "007", "deep-array": "[" * 300 + "]" * 300, "deep-object": '{"a":' * 200 + "1" + "}" * 200,
    "mismatch": "{]", "unclosed": "[1,2", "closed-twice": "[1]]", "bare": "word", "nothing": "", "spaces": " \t\r\n ",
    "comma-first": "[,1]", "comma-last": "[1,]", "colon": '{"a"}', "no-quote": "{a:1}",
}

OBJECTS = {
    "plain": compact(obj()),
    "spaced": json.dumps(obj(), indent=2),
    "managed": compact(obj(meta={"managedFields": [{"manager": "m", "fieldsV1": {"f:data": {}}}]})),
    "meta-last": compact({"data": {}, **obj()}),
    "sorted": compact(dict(sorted(obj(meta={"annotations": {"b": "}"}}).items()))),
    "cluster": compact({"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n", "uid": "u", "resourceVersion": "1"}}),
    "no-meta": compact({"kind": "ConfigMap", "apiVersion": "v1"}),
    "null-meta": '{"kind":"ConfigMap","metadata":null}',
    "array-meta": '{"kind":"ConfigMap","metadata":[]}',
    "number-name": '{"metadata":{"name":5}}',
    "slash-name": compact(obj(name="a/b")),
    "empty-name": compact(obj(name="")),
    "twice-meta": '{"metadata":{"name":"a","resourceVersion":"1"},"metadata":{"name":"b","resourceVersion":"2"}}',
    "twice-name": '{"metadata":{"name":"a","name":"b","resourceVersion":"1"}}',
    "escaped-key": '{"meta\\u0064ata":{"name":"a"}}',
    "escaped-name": '{"metadata":{"name":"\\u0061","resourceVersion":"1"}}',
    "nested-meta": '{"spec":{"metadata":{"name":"wrong"}},"metadata":{"name":"right","resourceVersion":"1"}}',
    "bom": "\ufeff" + compact(obj()),
    "trailing": compact(obj()) + "x",
    "crlf": compact(obj()) + "\r",
    "long-version": compact(obj(version="9" * 80)),
    "empty": "",
    "brace": "{",
    "list": "[]",
}
for key, text in STRINGS.items():
    OBJECTS["name-" + key] = '{"kind":"ConfigMap","metadata":{"name":' + text + ',"resourceVersion":"1"},"data":{"a":"b"}}'
    OBJECTS["data-" + key] = compact(obj())[:-1] + ',"data":{"k":' + text + "}}"
for key, text in VALUES.items():
    OBJECTS["value-" + key] = compact(obj())[:-1] + ',"data":' + text + "}"
    OBJECTS["meta-" + key] = '{"kind":"ConfigMap","metadata":' + text + "}"

for key, text in OBJECTS.items():
    write("envelope", key, text)

EVENTS = {}
for key, text in OBJECTS.items():
    EVENTS["modified-" + key] = '{"type":"MODIFIED","object":' + text + "}"
for kind in ["ADDED", "DELETED", "BOOKMARK", "ERROR", "SHINY", "", "added"]:
    EVENTS["type-" + (kind or "empty")] = '{"type":"' + kind + '","object":' + OBJECTS["plain"] + "}"
EVENTS |= {
    "object-first": '{"object":' + OBJECTS["plain"] + ',"type":"ADDED"}',
    "spaced": '{ "type" : "ADDED" , "object" : ' + OBJECTS["plain"] + " }",
    "more-after": '{"type":"ADDED","object":' + OBJECTS["plain"] + ',"x":{}}',
    "no-object": '{"type":"ADDED"}',
    "no-type": '{"object":{}}',
    "null-object": '{"type":"DELETED","object":null}',
    "twice-type": '{"type":"ADDED","type":"DELETED","object":{}}',
    "number-type": '{"type":3,"object":{}}',
    "escaped-type": '{"type":"ADD\\u0045D","object":' + OBJECTS["plain"] + "}",
    "end": '{"type":"BOOKMARK","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}}',
    "not-end": '{"type":"BOOKMARK","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"false"}}}}',
    "status": '{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version: 1 (398)","reason":"Expired","code":410}}',
    "odd-status": '{"type":"ERROR","object":{"code":"410"}}',
}
for key, text in EVENTS.items():
    write("event", key, text)
for cut in [1, 8, 20, 40, 60, 90, 120]:
    write("event", f"cut-{cut}", EVENTS["modified-plain"][:cut])


def listing(items, head='"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"10","continue":"t","remainingItemCount":3}'):
    return "{" + head + ',"items":[' + ",".join(items) + "]}\n"


LISTS = {
    "none": listing([]),
    "one": listing([OBJECTS["plain"]]),
    "three": listing([OBJECTS["plain"], OBJECTS["managed"], OBJECTS["spaced"]]),
    "null-items": '{"metadata":{"resourceVersion":"1"},"items":null}',
    "items-first": '{"items":[' + OBJECTS["plain"] + '],"metadata":{"resourceVersion":"1"},"kind":"ConfigMapList"}',
    "no-items": '{"kind":"ConfigMapList","metadata":{"resourceVersion":"1"}}',
    "items-object": '{"items":{}}',
    "items-twice": '{"items":[{}],"items":[{}]}',
    "scalars": listing(["1", '"x"', "null", "true", "-1.5e3"]),
    "nested-items": listing(['{"items":[{"items":[]}]}']),
    "status": '{"kind":"Status","status":"Failure","message":"no","code":500}',
    "table": '{"kind":"Table","rows":[{"cells":[1]}]}',
    "extra-members": listing([OBJECTS["plain"]], '"x":[1,{"y":"]}"}],"metadata":{"resourceVersion":"1","shardInfo":{"selector":"s"}}'),
    "shard-null": '{"metadata":{"shardInfo":null},"items":[]}',
    "after": listing([]) + "{}",
    "html": "<html></html>",
    "cut-in-item": listing([OBJECTS["plain"]])[:140],
    "cut-in-head": listing([OBJECTS["plain"]])[:30],
    "missing-comma": "{\"items\":[{}{}]}",
    "double-comma": "{\"items\":[{},,{}]}",
    "comma-last": "{\"items\":[{},]}",
    "array": "[{}]",
    "bracket": "{\"items\":[{}}",
    "long-token": '{"metadata":{"continue":"' + "t" * 3000 + '"},"items":[]}',
}
for key, text in OBJECTS.items():
    LISTS["item-" + key] = listing([OBJECTS["plain"], text, OBJECTS["plain"]])
for key, text in LISTS.items():
    write("splitter", key, text)

LINES = {
    "empty": "", "newline": "\n", "blank": "\n\r\n \n\t\n", "one": "a\n", "two": "a\nb\n", "unended": "a\nb", "crlf": "a\r\nb\r\n",
    "long": "x" * 300 + "\n", "nul": "a\0b\n\0\n", "spaces": "  a  \n", "utf8": "äöü\n中\n", "at-the-cap": "y" * 64 + "\nz\n",
}
for key, text in LINES.items():
    write("framing", key, b"\x05" + text.encode())
    write("framing", key + "-bytewise", b"\x01" + text.encode())
for key in ["plain", "managed", "spaced"]:
    write("framing", "event-" + key, b"\x40" + EVENTS["modified-" + key].encode() + b"\n")
write("framing", "not-utf8", b"\x03\xff\xfe\n\xc3\x28\n")

# The first byte: a list for its contents, a watch, or a list of names; how objects are decoded. The second: how many
# bytes arrive at a time.
BODIES = {f"list-{key}": (0, LISTS[key]) for key in [
    "one", "three", "null-items", "items-first", "no-items", "items-twice", "scalars", "status", "table", "extra-members",
    "after", "html", "cut-in-item", "missing-comma", "double-comma", "comma-last", "long-token", "item-twice-name",
    "item-data-unicode", "item-value-deep-array", "item-value-mismatch", "item-slash-name",
]}
BODIES |= {f"watch-{key}": (1, EVENTS[key] + "\n" + EVENTS["modified-managed"] + "\n") for key in [
    "object-first", "spaced", "more-after", "twice-type", "end", "status", "type-DELETED", "modified-value-nan",
    "modified-data-escape", "no-object",
]}
BODIES |= {"audit-three": (2, LISTS["three"]), "audit-item-plain": (2, LISTS["item-plain"])}
for nth, (key, (kind, text)) in enumerate(BODIES.items()):
    for policy, name in enumerate(["whole", "hidden", "metadata", "slim"]):
        if name == "metadata":
            text = text.replace('"ConfigMap"', '"PartialObjectMetadata"').replace('"ConfigMapList"', '"PartialObjectMetadataList"')
        write("body", f"{key}-{name}", bytes([kind | policy << 2, [7, 1, 64, 200][(nth + policy) % 4]]) + text.encode("utf-8", "surrogatepass"))

print(sum(1 for path in ROOT.rglob("*") if path.is_file()), "files")
