"""The tables `packages` and `os_releases`: what is installed in images."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field, Table, TargetKind

_IMAGE_FIELDS = (
    Field("image", DataType.DIGEST, "the ID of the image"),
    Field("image_name", DataType.TEXT, "the name of the image, as the statement has it", title="IMAGE NAME"),
)
_PLACE = Field("place", DataType.TEXT, "the source that holds the image: store, docker, a registry …")

PACKAGES = Table(
    "packages",
    "One row for each package that is installed in an image, by the databases and manifests in its layers: packages of"
    " dpkg, apk and rpm, Python distributions, npm packages, gems, and the modules in executables of Go.",
    (
        Field("name", DataType.TEXT, "the name"),
        Field(
            "version",
            DataType.PACKAGE_VERSION,
            "the version; compared by the rules of the package system. A bound of rpm without release equals all"
            " releases of its version",
        ),
        Field("architecture", DataType.TEXT, "the architecture, in the words of the package system", ("arch",)),
        Field(
            "type",
            DataType.TEXT,
            "the package system",
            values=("deb", "apk", "rpm", "python", "npm", "go", "gem"),
        ),
        Field("source", DataType.TEXT, "the source package from which it was built; its own name when they are equal"),
        Field("source_version", DataType.TEXT, "the version of the source package"),
        Field("purl", DataType.TEXT, "the package URL. Example: pkg:deb/debian/bash@5.2.15-2+b7?arch=amd64"),
        Field("licence", DataType.TEXT, "the licence, an SPDX expression where it is one", ("license",)),
        Field("size", DataType.SIZE, "bytes when installed, where the package system says it", is_optional=True),
        Field("layer", DataType.DIGEST, "the diff ID of the layer that brought this version"),
        Field("layer_index", DataType.NUMBER, "the position of that layer, 0 for the lowest", ("first_layer",)),
        Field("last_layer", DataType.NUMBER, "the position of the layer whose list of packages counts"),
        Field("path", DataType.TEXT, "the file that lists the package. Example: /var/lib/dpkg/status"),
        Field("maintainer", DataType.TEXT, "who maintains it"),
        Field("homepage", DataType.TEXT, "its address on the web"),
        Field("toolchain", DataType.TEXT, "the version of Go that built the executable"),
        Field("distribution", DataType.TEXT, "the operating system of the image. Example: debian 12"),
        *_IMAGE_FIELDS,
        Field(
            "image_digest",
            DataType.DIGEST,
            "the digest of the manifest of the image; unknown where the source does not know it",
            on_request=True,
        ),
        Field("image_created", DataType.TIME, "when the image was created", on_request=True),
        Field("image_platform", DataType.PLATFORM, "the platform of the image", on_request=True),
        _PLACE,
    ),
    default_columns=("name", "version", "architecture", "type", "size"),
    order=("image", "type", "name", "version"),
    key=("image", "type", "name", "version", "architecture", "path", "place"),
    target=TargetKind.IMAGES,
)

OS_RELEASES = Table(
    "os_releases",
    "One row for each image: its operating system, by /etc/os-release or an older file. Images without one have a row"
    " of unknown values.",
    (
        Field("id", DataType.TEXT, "the system. Example: debian, alpine, rhel"),
        Field("version_id", DataType.TEXT, "its version. Example: 12", ("version",)),
        Field("pretty_name", DataType.TEXT, "its name and version, for people", ("name",)),
        Field("codename", DataType.TEXT, "the name of the version. Example: bookworm"),
        *_IMAGE_FIELDS,
        _PLACE,
    ),
    default_columns=("image_name", "id", "version_id", "pretty_name"),
    order=("image_name", "image"),
    key=("image", "place"),
    target=TargetKind.IMAGES,
)
