"""The data card `croissant.json`: the dataset in Croissant 1.1, a vocabulary on top of schema.org, with its part on
responsible AI.

All of it follows from what lies in the folder. What only a publisher can know stays open: `url` is the folder that
holds the card, wherever that is put, and `creator` names the program. `datePublished`, which the format requires, is
the day on which the last shard was finished, as its statistics say; so two runs of one ingest may differ in dates.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from t2i_core.data.account.survey import Overview
from t2i_core.data.counts import Counts
from t2i_core.data.reject import RejectReason
from t2i_core.data.shards.layout import SHARDS_DIR
from t2i_core.folders.manifest import OutputFile

Node = dict[str, Any]
MAX_HOSTS, MAX_LICENSES, HOSTS_CITED = 50, 1000, 10

_CONTEXT: Node = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "description": {"@container": "@language"},
    **{
        term: f"cr:{term}"
        for term in (
            *(
                "annotation",
                "arrayShape",
                "citeAs",
                "column",
                "containedIn",
                "equivalentProperty",
                "excludes",
                "extract",
            ),
            *("field", "fileObject", "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset"),
            *("jsonPath", "key", "md5", "parentField", "path", "readLines", "recordSet", "references", "regex"),
            *("repeated", "replace", "samplingRate", "sdVersion", "separator", "source", "subField", "transform"),
            *("unArchive", "value"),
        )
    },
}
_MEDIA_TYPES = {
    ".tar": "application/x-tar",
    ".parquet": "application/x-parquet",
    "jpg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
}
_COLUMNS = {
    "caption": "The text as found, not cleaned; empty for none.",
    "url": "Where the picture was asked for, or its path below a local folder; sha256:... of a purged one.",
    "key": "Name of the sample in its shard.",
    "status": "success, or the stage at which the source was left out.",
    "error_message": "What went wrong.",
    "width": "Of the picture as stored, in pixels.",
    "height": "Of the picture as stored, in pixels.",
    "original_width": "Of the picture as found, in pixels.",
    "original_height": "Of the picture as found, in pixels.",
    "sha256": "Of the bytes of the picture as found, in hexadecimal.",
    "uid": "Identity of the sample that survives another order or shard size: a hash of URL and caption.",
    "reason": "Why the source was left out; empty for kept ones.",
    "http_status": "Of the last answer, 0 when there was none.",
    "final_url": "Where redirects led.",
    "page_url": "The page that the picture was found on.",
    "caption_source": "The rule that gave the caption.",
    "phash": "64-bit perceptual hash of the picture as stored, in hexadecimal.",
    "color_grid": "Mean Y, Cb and Cr of 4 x 4 fields of the picture as stored, row by row, in hexadecimal.",
    "original_format": "Of the picture as found.",
    "original_mode": "Kind of pixels of the picture as found, in Pillow's words.",
    "frames": "Of the picture as found; the first is kept.",
    "signals": "Opt-out signals and other directives that came with the last answer.",
    "attributes": "What the source said about the picture besides, a JSON object.",
    "sample_crc32": "CRC-32 over the members of the sample in its shard.",
    "license": "The license as stated where the picture was found; empty when nothing is stated.",
    "exif": "EXIF of the picture as found, a JSON object of tags by name, without GPS.",
}


def croissant_json(overview: Overview) -> bytes:
    """Write the card."""
    return json.dumps(_card(overview), indent=1, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _card(overview: Overview) -> Node:
    manifest = overview.manifest
    title = f"Pictures and texts of {source_name(overview)}"
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": title,
        "description": describe_samples(overview),
        "url": "./",
        "identifier": f"sha256:{manifest.digest}",
        "version": f"{overview.version}.0.0",
        "license": _licenses(overview),
        "creator": {"@type": "sc:Organization", "name": f"t2i {manifest.code_version}"},
        **_dates(overview),
        "citeAs": _bibtex(f"t2i_{manifest.digest[:12]}", title=title, note=f"sha256 {manifest.digest}"),
        "citation": name_hosts(overview),
        "keywords": ["text-to-image", "image-text pairs", "WebDataset"],
        "prov:wasDerivedFrom": _origin(overview),
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "prov:label": f"t2i {manifest.key.step} v{manifest.key.version}",
        },
        **_responsibility(overview),
        "distribution": _distribution(overview),
        "recordSet": _record_sets(overview),
    }


def source_name(overview: Overview) -> str:
    """Name the source; of a local one no more than the last part of its path, for the card is made to be passed on."""
    source = overview.manifest.sources.get("source", "")
    return source if "://" in source else PurePath(source).name


def _bibtex(key: str, **fields: str) -> str:
    told = (f"{name} = {{{value.replace('{', '(').replace('}', ')')}}}" for name, value in fields.items())
    return f"@misc{{{key}, {', '.join(told)}}}"


def describe_samples(overview: Overview) -> str:
    """Say how many samples there are and in what form."""
    counts, config = overview.manifest.counts, overview.manifest.key.config
    return (
        f"{counts['kept']:,} pictures with their texts, kept of {counts['seen']:,} sources, in {counts['shards']:,} "
        f"shards that readers of WebDataset and img2dataset understand. {_storage(config)}. "
        "One row for every source, kept or not."
    )


def _storage(config: Mapping[str, Any]) -> str:
    size = "" if config.get("resize_mode") == "no" else f" to {config.get('image_size')} pixels"
    return f"Resized ({config.get('resize_mode')}){size} and stored as {config.get('encode_format')}"


def _licenses(overview: Overview) -> list[str | Node]:
    """List what was stated, the most frequent first, and how many pictures nothing is known of."""
    stated = [text for text, _ in overview.licenses if text.startswith(("http://", "https://"))][:MAX_HOSTS]
    silent = overview.manifest.counts["kept"] - sum(number for _, number in overview.licenses)
    note = (
        f"{silent:,} of {overview.manifest.counts['kept']:,} pictures came with no stated license; the column license "
    )
    note += "says what was stated of each, and the rights of each picture are those of its source."
    return [
        *stated,
        {"@type": "sc:CreativeWork", "name": "as stated by the source of each picture", "description": note},
    ]


def _dates(overview: Overview) -> Node:
    if overview.figures.timeframe is None:
        return {}
    start, end = (time.isoformat(timespec="seconds") for time in overview.figures.timeframe)
    return {"datePublished": end[:10], "rai:dataCollectionTimeframe": [start, end]}


def name_hosts(overview: Overview) -> str:
    """Name the hosts that the pictures come from."""
    hosts = [entry for entry in overview.hosts if entry["kept"] and entry["host"]]
    if not overview.manifest.counts["kept"]:
        return "No picture was kept."
    if not hosts:
        return "The pictures come from local files; the column url names each."
    named = ", ".join(f"{entry['host']} ({entry['kept']:,})" for entry in hosts[:HOSTS_CITED])
    more = " and others" if len(hosts) > HOSTS_CITED else ""
    return f"Pictures kept by host: {named}{more}. The columns url and page_url name the source of each."


def _origin(overview: Overview) -> Node:
    source = overview.manifest.sources.get("source", "")
    if source.startswith(("http://", "https://")):
        return {"@id": source}
    digest = overview.manifest.key.inputs.get("source", "")
    return {"@type": "prov:Entity", "prov:label": source_name(overview), "identifier": f"sha256:{digest}"}


def _responsibility(overview: Overview) -> Node:
    """Give the fields of Croissant RAI 1.0 that are known."""
    counts = overview.manifest.counts
    purged = Counts.read(counts).rejected.get("purged", 0)
    return {
        "rai:dataCollection": describe_collection(overview),
        "rai:dataCollectionType": "Web Scraping" if overview.num_requests else "Secondary Data analysis",
        "rai:dataCollectionRawData": source_name(overview),
        "rai:dataCollectionMissingData": (
            f"{counts['rejected']:,} of {counts['seen']:,} sources gave no sample; each has a row with its reason."
        ),
        "rai:dataPreprocessingProtocol": [
            "Turned upright, converted to sRGB, alpha laid over a background.",
            f"{_storage(overview.manifest.key.config)}.",
        ],
        "rai:dataLimitations": ["Texts are as found: they may be wrong, in any language, or about something else."],
        "rai:personalSensitiveInformation": [
            "Not examined: pictures and texts of people may be among the samples. `t2i purge` removes them on request."
        ],
        "rai:dataReleaseMaintenancePlan": f"Sources purged on request so far: {purged:,}.",
    }


def describe_collection(overview: Overview) -> str:
    """Say how the pictures were got, and what was left out because it was not to be taken."""
    manifest = overview.manifest
    program = f"t2i {manifest.code_version}"
    denied = f"a deny-list (sha256 {manifest.key.inputs['deny_list']})" if "deny_list" in manifest.key.inputs else ""
    refused = ", ".join(f"{reason} {number:,}" for reason, number in overview.refusals.items()) or "none"
    if not overview.num_requests:
        return f"Read by {program} from local files. " + (f"Left out because of {denied}: {refused}." if denied else "")
    files = " and each site's tdmrep.json and ai.txt" if manifest.key.config.get("opt_out_files") else ""
    signals = f"robots.txt (RFC 9309), X-Robots-Tag, robots meta tags, TDMRep headers and meta tags{files}"
    return (
        f"Fetched by {program} with {overview.num_requests:,} requests; {signals} were honoured"
        f"{f', and {denied}' if denied else ''}. Sources left out because of them: {refused}."
    )


def _distribution(overview: Overview) -> list[Node]:
    """List each shard's files with their checksums, and what is inside of them."""
    files = [file for file in overview.manifest.files if file.path.endswith((".tar", ".parquet"))]
    media_type = _MEDIA_TYPES[overview.manifest.key.config["encode_format"]]
    suffix = overview.manifest.key.config["encode_format"]
    tars = [{"@id": file.path} for file in files if file.path.endswith(".tar")]
    return [
        *map(_file_object, files),
        _file_set("pictures", "The pictures in all shards.", media_type, f"*.{suffix}") | {"containedIn": tars},
        _file_set("tables", "The rows of all shards.", _MEDIA_TYPES[".parquet"], f"{SHARDS_DIR}/*.parquet"),
    ]


def _file_object(file: OutputFile) -> Node:
    return {
        "@type": "cr:FileObject",
        "@id": file.path,
        "name": PurePath(file.path).name,
        "contentUrl": file.path,
        "contentSize": f"{file.size} B",
        "encodingFormat": _MEDIA_TYPES[PurePath(file.path).suffix],
        "sha256": file.sha256,
    }


def _file_set(name: str, description: str, media_type: str, pattern: str) -> Node:
    return {
        "@type": "cr:FileSet",
        "@id": name,
        "name": name,
        "description": description,
        "encodingFormat": media_type,
        "includes": pattern,
    }


def _record_sets(overview: Overview) -> list[Node]:
    sets = [_samples(), _rows(overview.figures.schema)]
    reasons = [
        {"reason": reason, "meaning": RejectReason(reason).meaning, "sources": number}
        for reason, number in overview.rejected.items()
    ]
    licenses = [{"license": text, "pictures": number} for text, number in overview.licenses[:MAX_LICENSES]]
    hosts = [{name: entry[name] for name in ("host", "sources", "kept")} for entry in overview.hosts[:MAX_HOSTS]]
    return [
        *sets,
        *_enumeration("reasons", "Why sources were left out, and how many.", reasons),
        *_enumeration("licenses", "The licenses stated for kept pictures, and of how many.", licenses),
        *_enumeration("hosts", f"The hosts with the most sources, of {overview.num_hosts:,}.", hosts),
    ]


def _samples() -> Node:
    picture = {"fileSet": {"@id": "pictures"}, "extract": {"fileProperty": "content"}}
    key = {
        "fileSet": {"@id": "pictures"},
        "extract": {"fileProperty": "filename"},
        "transform": {"regex": "^([0-9]+)"},
    }
    return {
        "@type": "cr:RecordSet",
        "@id": "samples",
        "name": "samples",
        "description": "The kept pictures with their texts.",
        "key": {"@id": "samples/key"},
        "field": [
            _field("samples/key", "key", _COLUMNS["key"], "sc:Text", key)
            | {"references": {"field": {"@id": "rows/key"}}},
            _field("samples/image", "image", "The picture as stored.", "sc:ImageObject", picture),
            _field("samples/caption", "caption", _COLUMNS["caption"], "sc:Text", {"field": {"@id": "rows/caption"}}),
        ],
    }


def _rows(schema: pa.Schema) -> Node:
    fields = [
        _field(
            f"rows/{quote(column.name, safe='')}",
            column.name,
            _COLUMNS.get(column.name, "As the source gave it."),
            _data_type(column.type),
            _column(column.name),
        )
        for column in schema
    ]
    return {
        "@type": "cr:RecordSet",
        "@id": "rows",
        "name": "rows",
        "description": "Every source that was tried, kept or not.",
        "key": {"@id": "rows/key"},
        "field": fields,
    }


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Boolean" if pa.types.is_boolean(kind) else "sc:Text"


def _column(name: str) -> Node:
    return {"fileSet": {"@id": "tables"}, "extract": {"column": name}}


def _field(identity: str, name: str, description: str, data_type: str, source: Node) -> Node:
    return {
        "@type": "cr:Field",
        "@id": identity,
        "name": name,
        "description": description,
        "dataType": data_type,
        "source": source,
    }


def _enumeration(name: str, description: str, records: Iterable[Node]) -> list[Node]:
    """Describe a short table that the card itself holds; an empty one is left out."""
    data = [{f"{name}/{column}": value for column, value in record.items()} for record in records]
    if not data:
        return []
    fields = [
        {
            "@type": "cr:Field",
            "@id": column,
            "name": column,
            "dataType": "sc:Integer" if isinstance(value, int) else "sc:Text",
        }
        for column, value in data[0].items()
    ]
    key = {"@id": next(iter(data[0]))}
    return [
        {
            "@type": "cr:RecordSet",
            "@id": name,
            "name": name,
            "description": description,
            "key": key,
            "field": fields,
            "data": data,
        }
    ]
