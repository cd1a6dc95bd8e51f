"""The table `texts`: the lines of text in images, and where they are."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field, Table, TargetKind

KINDS = ("cmd", "entrypoint", "env", "file", "history", "label")

TEXTS = Table(
    "texts",
    "One row for each line of text in an image: in its files, the steps of its build, its variables and labels, its"
    ' command and entry point. texts of app:1 where text like "*10.0.0.5*" is a grep -r of all of them. Files of any'
    " size are searched, binary files too, whose lines also end at zero bytes and have no number. Without a condition"
    " on text, only the lines of text files are rows, and files of more than 16 MB in total are an error.",
    (
        Field("kind", DataType.TEXT, "what has the text", values=KINDS),
        Field(
            "key",
            DataType.TEXT,
            "the path of the file, the name of the variable or label, the position of the step; unknown for cmd and"
            " entrypoint",
        ),
        Field(
            "line",
            DataType.NUMBER,
            "the number of the line in a text file or a step of several lines, 1 for the first",
            is_optional=True,
        ),
        Field(
            "text",
            DataType.TEXT,
            "the line; a variable or label with its name, NAME=VALUE. Of a line of more than 1,000 bytes it shows the"
            " part around what was found; like and matches with a constant search all of it. A string with line breaks"
            " is found across lines",
            search_column="_found",
        ),
        Field(
            "location", DataType.TEXT, "kind, key and line in one text. Example: file /etc/hosts:3, env PATH, history 2"
        ),
        Field(
            "occurrence",
            DataType.NUMBER,
            "1 for the first line of a file that the conditions on text select, 2 for the second; alternatives of or"
            " are counted separately. occurrence = 1 reads no further than that",
        ),
        Field("layer", DataType.DIGEST, "the diff ID of the layer that has it, or that the step made"),
        Field("layer_index", DataType.NUMBER, "the position of that layer, 0 for the lowest"),
        Field("image", DataType.DIGEST, "the ID of the image, or of the container"),
        Field(
            "image_name",
            DataType.TEXT,
            "the name of the image, as the statement spells it, or of the container",
            title="IMAGE NAME",
        ),
        Field("source", DataType.TEXT, "the source that holds it"),
    ),
    default_columns=("image_name", "kind", "key", "line", "text"),
    order=("image_name", "image", "kind", "key", "line"),
    key=("image", "location", "text", "source"),
    target=TargetKind.IMAGES,
)
