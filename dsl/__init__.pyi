"""What `import imq` offers, by name: made by build/generate_docs.py from the declarations, and not to be edited.

Classes with an underscore are for type checkers alone: they say which fields there are.
"""

import os
from collections.abc import Sequence

from imq.api.connection import (
    Connection as Connection,
    connect as connect,
)
from imq.api.expressions import (
    Expression as Expression,
    Path as Path,
    Reference as Reference,
    Value as Value,
    text as text,
    variable as var,
)
from imq.api.literals import (
    Bytes as Bytes,
    Misuse as Misuse,
)
from imq.api.queries import (
    Query as Query,
    Table as Table,
    any_ as any_,
    no as no,
    table as table,
)
from imq.api.results import (
    ActionFailed as ActionFailed,
    Result as Result,
    Row as Row,
)
from imq.api.statements import (
    Statement as Statement,
    assert_ as assert_,
    dry_run as dry_run,
    explain as explain,
    help_ as help,
    help_ as help_,
    include as include,
    let as let,
    on_error as on_error,
    set_ as set,
    set_ as set_,
    use as use,
    view as view,
)
from imq.grammar.errors import (
    AssertionFailed as AssertionFailed,
    Conflict as Conflict,
    DigestMismatch as DigestMismatch,
    ImqError as ImqError,
    Interrupted as Interrupted,
    InvalidReference as InvalidReference,
    Malformed as Malformed,
    NeedsConfirmation as NeedsConfirmation,
    NotFound as NotFound,
    Refused as Refused,
    RegistryError as RegistryError,
    StatementError as StatementError,
    StoreError as StoreError,
    TypeMismatch as TypeMismatch,
    UnknownName as UnknownName,
)

__version__: str

_Name = str | Expression
_Path = str | os.PathLike[str] | Expression

class _Map(Path):
    """A map, whose keys are attributes; `[…]` takes any text."""

    def __getattr__(self, key: str) -> Path: ...

class _Containers(Path):
    """A relation to containers, and their fields."""

    id: Path
    """the container ID"""
    name: Path
    """its name"""
    image: Path
    """the name of its image"""
    image_id: Path
    """the ID of its image"""
    status: Path
    """created, running, paused, exited or dead"""
    created: Path
    """when it was created"""
    finished: Path
    """when it last stopped; unknown while it runs"""
    size_rw: Path
    """bytes written by the container"""
    labels: _Map
    """its labels; labels.KEY is one of them"""
    ports: Path
    """its ports"""
    source: Path
    """the source that holds it"""

class _History(Path):
    """A relation to history, and their fields."""

    image: Path
    """the ID of the image"""
    index: Path
    """the position of the step, 0 for the first"""
    created: Path
    """when the step ran"""
    created_by: Path
    """the command of the step"""
    size: Path
    """bytes of the files in its layer; 0 for a step without a layer"""
    empty: Path
    """the step has no layer"""
    comment: Path
    """the comment of the builder"""
    layer: Path
    """the digest of its layer"""
    source: Path
    """the source that holds it"""

class _Images(Path):
    """A relation to images, and their fields."""

    id: Path
    """the image ID: the digest of the config"""
    name: Path
    """the repository and tag or digest, in docker's short form"""
    registry: Path
    """the host of the registry; docker.io when the name has none"""
    repository: Path
    """the name without its tag, in docker's short form"""
    tag: Path
    """the tag"""
    version: Path
    """the version in the tag; unknown when the tag has none. version.major, version.minor, version.patch, version.prerelease and version.variant are its parts"""
    version_major: Path
    """the first number of the version"""
    version_minor: Path
    """the second number of the version"""
    version_patch: Path
    """the third number of the version"""
    version_prerelease: Path
    """the pre-release part of the version. Example: rc1, beta.2"""
    version_variant: Path
    """the variant after the version. Example: alpine, bookworm-slim"""
    digest: Path
    """the digest of the name in its registry; unknown when it did not come from a registry"""
    manifest_digest: Path
    """the digest of the manifest of this platform"""
    created: Path
    """the time of the build; unknown when the config has none, zero or the epoch"""
    size: Path
    """bytes of the files in the layers; shared layers count in full"""
    download_size: Path
    """bytes of the config and the compressed layers"""
    shared_size: Path
    """the part of size in layers that other images of the store have too"""
    unique_size: Path
    """the part of size in layers that no other image of the store has"""
    chain_id: Path
    """the chain ID: a digest of all layers in order; images with the same layers have the same"""
    layer_count: Path
    """the number of layers"""
    platform: Path
    """os/architecture[/variant]"""
    os: Path
    """the operating system"""
    architecture: Path
    """the architecture, by its name in Go. Example: amd64, arm64"""
    variant: Path
    """the variant of the architecture. Example: v7, v8"""
    os_version: Path
    """the version of the operating system; Windows images have one"""
    label: _Map
    """the labels; label.KEY is one of them"""
    env: _Map
    """the environment; env.NAME is one variable"""
    user: Path
    """the user that containers run as; unknown means root"""
    entrypoint: Path
    """the words of the entry point"""
    cmd: Path
    """the words of the default command"""
    workdir: Path
    """the working directory"""
    ports: Path
    """the exposed ports. Example: 80/tcp"""
    volumes: Path
    """the declared volumes"""
    healthcheck: Path
    """the health check's command; unknown when there is none"""
    stop_signal: Path
    """the signal that stops a container"""
    author: Path
    """the author in the config"""
    annotations: _Map
    """the annotations of the manifest; annotations.KEY is one of them"""
    media_type: Path
    """the media type of the manifest"""
    dangling: Path
    """the image has no tag"""
    in_use: Path
    """a container, running or stopped, was made from the image"""
    containers: Path
    """the number of containers made from the image"""
    pulled_at: Path
    """when the name was pulled or last set"""
    last_used: Path
    """when a container last used the image; unknown if none was seen"""
    source: Path
    """the source that holds it"""

class _Layers(Path):
    """A relation to layers, and their fields."""

    image: Path
    """the ID of the image"""
    index: Path
    """the position in the image, 0 for the lowest"""
    digest: Path
    """the digest of the compressed layer"""
    diff_id: Path
    """the digest of the uncompressed layer"""
    chain_id: Path
    """the chain ID: a digest of this layer and all layers below it"""
    size: Path
    """bytes of the files in the layer"""
    download_size: Path
    """bytes of the compressed layer"""
    media_type: Path
    """the media type of the layer"""
    created: Path
    """when its build step ran"""
    created_by: Path
    """the command of its build step"""
    images: Path
    """the number of images of the store with the layer"""
    source: Path
    """the source that holds it"""

class _Manifests(Path):
    """A relation to manifests, and their fields."""

    name: Path
    """repository@digest"""
    registry: Path
    """the host of the registry"""
    repository: Path
    """the repository, in docker's short form"""
    digest: Path
    """the digest"""
    tags: Path
    """its tags; unknown when it has none"""
    parent_index: Path
    """an index with this manifest"""
    subject: Path
    """the digest of its subject"""
    media_type: Path
    """the media type"""
    artifact_type: Path
    """the artifact type; unknown for images"""
    annotations: _Map
    """its annotations"""
    size: Path
    """bytes of the config and the compressed layers"""
    layer_count: Path
    """the number of layers"""
    id: Path
    """the image ID: the digest of the config"""
    created: Path
    """the time of the build; unknown when the config has none, zero or the epoch"""
    platform: Path
    """os/architecture[/variant]"""
    problem: Path
    """why its registry did not return more"""
    source: Path
    """the registry that holds it"""

class _Platforms(Path):
    """A relation to platforms, and their fields."""

    name: Path
    """the name by which the index was requested"""
    registry: Path
    """the host of the registry"""
    repository: Path
    """the repository, in docker's short form"""
    position: Path
    """its position in the index, 0 for the first"""
    platform: Path
    """os/architecture[/variant]"""
    os: Path
    """the operating system"""
    architecture: Path
    """the architecture"""
    variant: Path
    """the variant of the architecture"""
    os_version: Path
    """the version of the operating system"""
    digest: Path
    """the digest of the manifest"""
    media_type: Path
    """the media type of the manifest"""
    attestation: Path
    """it is not an image but an attestation of another entry"""
    annotations: _Map
    """the annotations of the entry"""
    size: Path
    """bytes of the config and the compressed layers"""
    layer_count: Path
    """the number of layers"""
    id: Path
    """the image ID: the digest of the config"""
    created: Path
    """the time of the build; unknown when the config has none, zero or the epoch"""
    problem: Path
    """why its registry did not return more"""
    source: Path
    """the registry that holds it"""

class _Referrers(Path):
    """A relation to referrers, and their fields."""

    name: Path
    """repository@digest"""
    registry: Path
    """the host of the registry"""
    repository: Path
    """the repository, in docker's short form"""
    subject: Path
    """the digest of its subject"""
    artifact_type: Path
    """the artifact type"""
    digest: Path
    """the digest of the manifest"""
    media_type: Path
    """the media type of the manifest"""
    annotations: _Map
    """its annotations"""
    created: Path
    """when it was created, from the annotation org.opencontainers.image.created"""
    size: Path
    """bytes of the manifest"""
    problem: Path
    """why its registry did not return more"""
    source: Path
    """the registry that holds it"""

class _Tags(Path):
    """A relation to tags, and their fields."""

    name: Path
    """the repository and tag or digest, in docker's short form"""
    registry: Path
    """the host of the registry; docker.io when the name has none"""
    repository: Path
    """the name without its tag, in docker's short form"""
    tag: Path
    """the tag"""
    version: Path
    """the version in the tag; unknown when the tag has none. version.major, version.minor, version.patch, version.prerelease and version.variant are its parts"""
    version_major: Path
    """the first number of the version"""
    version_minor: Path
    """the second number of the version"""
    version_patch: Path
    """the third number of the version"""
    version_prerelease: Path
    """the pre-release part of the version. Example: rc1, beta.2"""
    version_variant: Path
    """the variant after the version. Example: alpine, bookworm-slim"""
    digest: Path
    """the digest of the tag"""
    media_type: Path
    """the media type of the manifest or index of the tag"""
    artifact_type: Path
    """the artifact type; unknown for images"""
    platforms: Path
    """the platforms of an index, without attestations"""
    manifest_digest: Path
    """the digest of the manifest of this platform"""
    id: Path
    """the image ID: the digest of the config"""
    layer_count: Path
    """the number of layers"""
    annotations: _Map
    """the annotations of the manifest; annotations.KEY is one of them"""
    size: Path
    """bytes of the config and the compressed layers; registries do not report uncompressed sizes"""
    download_size: Path
    """bytes of the config and the compressed layers"""
    created: Path
    """the time of the build; unknown when the config has none, zero or the epoch"""
    platform: Path
    """os/architecture[/variant]"""
    os: Path
    """the operating system"""
    architecture: Path
    """the architecture, by its name in Go. Example: amd64, arm64"""
    variant: Path
    """the variant of the architecture. Example: v7, v8"""
    os_version: Path
    """the version of the operating system; Windows images have one"""
    label: _Map
    """the labels; label.KEY is one of them"""
    env: _Map
    """the environment; env.NAME is one variable"""
    user: Path
    """the user that containers run as; unknown means root"""
    entrypoint: Path
    """the words of the entry point"""
    cmd: Path
    """the words of the default command"""
    workdir: Path
    """the working directory"""
    ports: Path
    """the exposed ports. Example: 80/tcp"""
    volumes: Path
    """the declared volumes"""
    healthcheck: Path
    """the health check's command; unknown when there is none"""
    stop_signal: Path
    """the signal that stops a container"""
    author: Path
    """the author in the config"""
    signed: Path
    """it has a signature: a tag of cosign, or a referrer"""
    problem: Path
    """why its registry did not return more"""
    source: Path
    """the registry that holds it"""

class _Image(Reference):
    """An image that is named, and its fields."""

    annotation: _Map
    """the annotations of the manifest; annotations.KEY is one of them"""
    annotations: _Map
    """the annotations of the manifest; annotations.KEY is one of them"""
    arch: Path
    """the architecture, by its name in Go. Example: amd64, arm64"""
    architecture: Path
    """the architecture, by its name in Go. Example: amd64, arm64"""
    author: Path
    """the author in the config"""
    chain_id: Path
    """the chain ID: a digest of all layers in order; images with the same layers have the same"""
    cmd: Path
    """the words of the default command"""
    command: Path
    """the words of the default command"""
    containers: Path
    """the number of containers made from the image"""
    created: Path
    """the time of the build; unknown when the config has none, zero or the epoch"""
    dangling: Path
    """the image has no tag"""
    digest: Path
    """the digest of the name in its registry; unknown when it did not come from a registry"""
    download_size: Path
    """bytes of the config and the compressed layers"""
    entrypoint: Path
    """the words of the entry point"""
    env: _Map
    """the environment; env.NAME is one variable"""
    environment: _Map
    """the environment; env.NAME is one variable"""
    exposed_ports: Path
    """the exposed ports. Example: 80/tcp"""
    healthcheck: Path
    """the health check's command; unknown when there is none"""
    id: Path
    """the image ID: the digest of the config"""
    in_use: Path
    """a container, running or stopped, was made from the image"""
    label: _Map
    """the labels; label.KEY is one of them"""
    labels: _Map
    """the labels; label.KEY is one of them"""
    last_used: Path
    """when a container last used the image; unknown if none was seen"""
    layer_count: Path
    """the number of layers"""
    layers: Path
    """the number of layers"""
    major: Path
    """the first number of the version"""
    manifest_digest: Path
    """the digest of the manifest of this platform"""
    media_type: Path
    """the media type of the manifest"""
    minor: Path
    """the second number of the version"""
    name: Path
    """the repository and tag or digest, in docker's short form"""
    operating_system: Path
    """the operating system"""
    os: Path
    """the operating system"""
    os_version: Path
    """the version of the operating system; Windows images have one"""
    patch: Path
    """the third number of the version"""
    platform: Path
    """os/architecture[/variant]"""
    ports: Path
    """the exposed ports. Example: 80/tcp"""
    prerelease: Path
    """the pre-release part of the version. Example: rc1, beta.2"""
    pulled_at: Path
    """when the name was pulled or last set"""
    reference: Path
    """the repository and tag or digest, in docker's short form"""
    registry: Path
    """the host of the registry; docker.io when the name has none"""
    repo: Path
    """the name without its tag, in docker's short form"""
    repository: Path
    """the name without its tag, in docker's short form"""
    shared_size: Path
    """the part of size in layers that other images of the store have too"""
    size: Path
    """bytes of the files in the layers; shared layers count in full"""
    source: Path
    """the source that holds it"""
    stop_signal: Path
    """the signal that stops a container"""
    tag: Path
    """the tag"""
    unique_size: Path
    """the part of size in layers that no other image of the store has"""
    user: Path
    """the user that containers run as; unknown means root"""
    variant: Path
    """the variant of the architecture. Example: v7, v8"""
    version: Path
    """the version in the tag; unknown when the tag has none. version.major, version.minor, version.patch, version.prerelease and version.variant are its parts"""
    version_major: Path
    """the first number of the version"""
    version_minor: Path
    """the second number of the version"""
    version_patch: Path
    """the third number of the version"""
    version_prerelease: Path
    """the pre-release part of the version. Example: rc1, beta.2"""
    version_variant: Path
    """the variant after the version. Example: alpine, bookworm-slim"""
    volumes: Path
    """the declared volumes"""
    workdir: Path
    """the working directory"""
    working_dir: Path
    """the working directory"""

class _Fields:
    """The fields of all tables."""

    active: Path
    """usage: the number of items that containers use"""
    address: Path
    """sources: its address"""
    annotation: _Map
    """images: the annotations of the manifest; annotations.KEY is one of them; tags: the annotations of the manifest; annotations.KEY is one of them; platforms: the annotations of the entry; manifests: its annotations; referrers: its annotations"""
    annotations: _Map
    """images: the annotations of the manifest; annotations.KEY is one of them; tags: the annotations of the manifest; annotations.KEY is one of them; platforms: the annotations of the entry; manifests: its annotations; referrers: its annotations"""
    arch: Path
    """images: the architecture, by its name in Go. Example: amd64, arm64; tags: the architecture, by its name in Go. Example: amd64, arm64; platforms: the architecture"""
    architecture: Path
    """images: the architecture, by its name in Go. Example: amd64, arm64; tags: the architecture, by its name in Go. Example: amd64, arm64; platforms: the architecture"""
    artifact_type: Path
    """tags: the artifact type; unknown for images; manifests: the artifact type; unknown for images; referrers: the artifact type"""
    attestation: Path
    """platforms: it is not an image but an attestation of another entry"""
    author: Path
    """images: the author in the config; tags: the author in the config"""
    automated: Path
    """search: it is an automated build"""
    base: _Images
    """images: the image of the store with the most layers that are the lowest layers of this one; one of its names"""
    chain_id: Path
    """images: the chain ID: a digest of all layers in order; images with the same layers have the same; layers: the chain ID: a digest of this layer and all layers below it"""
    children: _Images
    """images: the images with this image as their base"""
    cmd: Path
    """images: the words of the default command; tags: the words of the default command"""
    command: Path
    """images: the words of the default command; tags: the words of the default command"""
    comment: Path
    """history: the comment of the builder"""
    containers: _Containers
    """images: the containers made from the image; images: the number of containers made from the image"""
    created: Path
    """images: the time of the build; unknown when the config has none, zero or the epoch; layers: when its build step ran; history: when the step ran; containers: when it was created; tags: the time of the build; unknown when the config has none, zero or the epoch; platforms: the time of the build; unknown when the config has none, zero or the epoch; manifests: the time of the build; unknown when the config has none, zero or the epoch; referrers: when it was created, from the annotation org.opencontainers.image.created"""
    created_by: Path
    """layers: the command of its build step; history: the command of the step"""
    dangling: Path
    """images: the image has no tag"""
    description: Path
    """search: the description of its owner"""
    diff_id: Path
    """layers: the digest of the uncompressed layer"""
    digest: Path
    """images: the digest of the name in its registry; unknown when it did not come from a registry; layers: the digest of the compressed layer; tags: the digest of the tag; platforms: the digest of the manifest; manifests: the digest; referrers: the digest of the manifest"""
    download_size: Path
    """images: bytes of the config and the compressed layers; layers: bytes of the compressed layer; tags: bytes of the config and the compressed layers; platforms: bytes of the config and the compressed layers; manifests: bytes of the config and the compressed layers"""
    empty: Path
    """history: the step has no layer"""
    entrypoint: Path
    """images: the words of the entry point; tags: the words of the entry point"""
    env: _Map
    """images: the environment; env.NAME is one variable; tags: the environment; env.NAME is one variable"""
    environment: _Map
    """images: the environment; env.NAME is one variable; tags: the environment; env.NAME is one variable"""
    exposed_ports: Path
    """images: the exposed ports. Example: 80/tcp; tags: the exposed ports. Example: 80/tcp"""
    finished: Path
    """containers: when it last stopped; unknown while it runs"""
    healthcheck: Path
    """images: the health check's command; unknown when there is none; tags: the health check's command; unknown when there is none"""
    history: _History
    """images: the steps of the build; tags: the steps of the build; platforms: the steps of the build"""
    id: Path
    """images: the image ID: the digest of the config; containers: the container ID; tags: the image ID: the digest of the config; platforms: the image ID: the digest of the config; manifests: the image ID: the digest of the config"""
    image: Path
    """layers: the ID of the image; history: the ID of the image; containers: the name of its image"""
    image_id: Path
    """containers: the ID of its image"""
    images: Path
    """layers: the number of images of the store with the layer; sources: the number of images; unknown when it cannot be reached"""
    in_use: Path
    """images: a container, running or stopped, was made from the image"""
    index: Path
    """layers: the position in the image, 0 for the lowest; history: the position of the step, 0 for the first"""
    kind: Path
    """sources: the kind of source"""
    label: _Map
    """images: the labels; label.KEY is one of them; containers: its labels; labels.KEY is one of them; tags: the labels; label.KEY is one of them"""
    labels: _Map
    """images: the labels; label.KEY is one of them; containers: its labels; labels.KEY is one of them; tags: the labels; label.KEY is one of them"""
    last_used: Path
    """images: when a container last used the image; unknown if none was seen"""
    layer: Path
    """history: the digest of its layer"""
    layer_count: Path
    """images: the number of layers; tags: the number of layers; platforms: the number of layers; manifests: the number of layers"""
    layers: _Layers
    """images: the layers of the image; images: the number of layers; tags: the layers of the image; tags: the number of layers; platforms: its layers"""
    line: Path
    """lines: the line, without surrounding blanks"""
    major: Path
    """images: the first number of the version; tags: the first number of the version"""
    manifest_digest: Path
    """images: the digest of the manifest of this platform; tags: the digest of the manifest of this platform"""
    manifests: _Manifests
    """platforms: its manifest, if the registry has it"""
    media_type: Path
    """images: the media type of the manifest; layers: the media type of the layer; tags: the media type of the manifest or index of the tag; platforms: the media type of the manifest; manifests: the media type; referrers: the media type of the manifest"""
    minor: Path
    """images: the second number of the version; tags: the second number of the version"""
    name: Path
    """images: the repository and tag or digest, in docker's short form; containers: its name; tags: the repository and tag or digest, in docker's short form; repositories: the repository, in docker's short form; platforms: the name by which the index was requested; manifests: repository@digest; referrers: repository@digest; search: the repository, in docker's short form; sources: the name after `in` and `use`"""
    names: _Images
    """layers: its image, one row for each name; history: its image, one row for each name; containers: its image, one row for each name"""
    number: Path
    """lines: its number, 1 for the first that is not empty"""
    official: Path
    """search: it is one of Docker's official images"""
    operating_system: Path
    """images: the operating system; tags: the operating system"""
    os: Path
    """images: the operating system; tags: the operating system; platforms: the operating system"""
    os_version: Path
    """images: the version of the operating system; Windows images have one; tags: the version of the operating system; Windows images have one; platforms: the version of the operating system"""
    outdated: Expression
    """the tag has another digest in its registry"""
    parent_index: Path
    """manifests: an index with this manifest"""
    patch: Path
    """images: the third number of the version; tags: the third number of the version"""
    platform: Path
    """images: os/architecture[/variant]; tags: os/architecture[/variant]; platforms: os/architecture[/variant]; manifests: os/architecture[/variant]"""
    platforms: _Platforms
    """tags: the entries of its index; the image itself without an index; tags: the platforms of an index, without attestations"""
    ports: Path
    """images: the exposed ports. Example: 80/tcp; containers: its ports; tags: the exposed ports. Example: 80/tcp"""
    position: Path
    """platforms: its position in the index, 0 for the first"""
    prerelease: Path
    """images: the pre-release part of the version. Example: rc1, beta.2; tags: the pre-release part of the version. Example: rc1, beta.2"""
    problem: Path
    """tags: why its registry did not return more; repositories: why its registry did not return more; platforms: why its registry did not return more; manifests: why its registry did not return more; referrers: why its registry did not return more"""
    pulled_at: Path
    """images: when the name was pulled or last set"""
    reachable: Path
    """sources: it can be reached"""
    reclaimable: Path
    """usage: the bytes that no active item needs"""
    reference: Path
    """images: the repository and tag or digest, in docker's short form; tags: the repository and tag or digest, in docker's short form"""
    referrers: _Referrers
    """tags: its referrers"""
    registry: Path
    """images: the host of the registry; docker.io when the name has none; tags: the host of the registry; docker.io when the name has none; repositories: the host of the registry; platforms: the host of the registry; manifests: the host of the registry; referrers: the host of the registry; search: the host of the registry"""
    remote: _Tags
    """images: the current tag of this name in its registry; lines: the current tag of this name in its registry; rows: the current tag of this name in its registry"""
    repo: Path
    """images: the name without its tag, in docker's short form; tags: the name without its tag, in docker's short form"""
    repository: Path
    """images: the name without its tag, in docker's short form; tags: the name without its tag, in docker's short form; repositories: the repository, in docker's short form; platforms: the repository, in docker's short form; manifests: the repository, in docker's short form; referrers: the repository, in docker's short form"""
    shared_size: Path
    """images: the part of size in layers that other images of the store have too"""
    signed: Path
    """tags: it has a signature: a tag of cosign, or a referrer"""
    size: Path
    """images: bytes of the files in the layers; shared layers count in full; layers: bytes of the files in the layer; history: bytes of the files in its layer; 0 for a step without a layer; tags: bytes of the config and the compressed layers; registries do not report uncompressed sizes; repositories: bytes of the manifests, configs and layers of its tags, each once; in a sum over repositories, shared blobs count once for each repository; platforms: bytes of the config and the compressed layers; manifests: bytes of the config and the compressed layers; referrers: bytes of the manifest; usage: bytes on disk; shared bytes count once"""
    size_rw: Path
    """containers: bytes written by the container"""
    source: Path
    """images: the source that holds it; layers: the source that holds it; history: the source that holds it; containers: the source that holds it; tags: the registry that holds it; repositories: the registry that holds it; platforms: the registry that holds it; manifests: the registry that holds it; referrers: the registry that holds it; search: the registry that holds it"""
    stars: Path
    """search: the number of stars"""
    status: Path
    """containers: created, running, paused, exited or dead"""
    stop_signal: Path
    """images: the signal that stops a container; tags: the signal that stops a container"""
    subject: Path
    """manifests: the digest of its subject; referrers: the digest of its subject"""
    tag: Path
    """images: the tag; tags: the tag; manifests: its tags; unknown when it has none"""
    tag_count: Path
    """repositories: the number of tags"""
    tags: _Tags
    """repositories: its tags; manifests: its tags; unknown when it has none"""
    total: Path
    """usage: the number of items"""
    type: Path
    """usage: the type"""
    unique_size: Path
    """images: the part of size in layers that no other image of the store has"""
    user: Path
    """images: the user that containers run as; unknown means root; tags: the user that containers run as; unknown means root"""
    variant: Path
    """images: the variant of the architecture. Example: v7, v8; tags: the variant of the architecture. Example: v7, v8; platforms: the variant of the architecture"""
    version: Path
    """images: the version in the tag; unknown when the tag has none. version.major, version.minor, version.patch, version.prerelease and version.variant are its parts; tags: the version in the tag; unknown when the tag has none. version.major, version.minor, version.patch, version.prerelease and version.variant are its parts"""
    version_major: Path
    """images: the first number of the version; tags: the first number of the version"""
    version_minor: Path
    """images: the second number of the version; tags: the second number of the version"""
    version_patch: Path
    """images: the third number of the version; tags: the third number of the version"""
    version_prerelease: Path
    """images: the pre-release part of the version. Example: rc1, beta.2; tags: the pre-release part of the version. Example: rc1, beta.2"""
    version_variant: Path
    """images: the variant after the version. Example: alpine, bookworm-slim; tags: the variant after the version. Example: alpine, bookworm-slim"""
    volumes: Path
    """images: the declared volumes; tags: the declared volumes"""
    workdir: Path
    """images: the working directory; tags: the working directory"""
    working_dir: Path
    """images: the working directory; tags: the working directory"""

    def __getitem__(self, path: str | tuple[str, ...], /) -> Path: ...

field: _Fields
"""Where fields come from: `f.size`, `f.label.env`, `f["label", "a.b"]`."""
def ref(name: _Name, /) -> _Image:
    """Return an image by its name, whose fields can be compared with: `imq.ref("redis:7").created`."""
    ...
images: Table
"""One row for each name of each image, as in `docker image ls`; an image without a name is one row."""
layers: Table
"""One row for each layer of each image, lowest layer first. Images in registries have layers too: layers of registry.local:5000/team/app:1, layers of (tags of registry.local:5000/team/app where …). These rows also have name, registry, repository, manifest_digest, platform and problem, and their size is download_size."""
history: Table
"""One row for each step of the build of each image, first step first; also for images in registries, like layers."""
containers: Table
"""One row for each container, running or stopped. The embedded store has none."""
tags: Table
"""One row for each tag of repositories in registries. For an index the row describes the image for this machine, or for the platform in the condition (platform = linux/arm64)."""
repositories: Table
"""One row for each repository in the catalog of a registry."""
platforms: Table
"""One row for each entry of an index, including attestations; a single image is one row."""
manifests: Table
"""One row for each known manifest of a repository: those of its tags, the entries of their indexes, their referrers, and earlier ones that imq has seen and that still exist. Registries do not list manifests without a tag."""
referrers: Table
"""One row for each referrer of an image: signatures, attestations, SBOMs."""
search: Table
"""One row for each repository found by a search: search redis, search redis in registry.local:5000."""
lines: Table
"""One row for each line of a file that is not empty, or of standard input: lines of stdin."""
rows: Table
"""One row for each object of a JSON, CSV or YAML file, with the fields of the file. If they have a field name, as in images as json, remote is the tag of that name in its registry."""
sources: Table
"""One row for each source of images."""
usage: Table
"""Disk usage, one row for each type, as in docker system df."""
kB: Bytes
MB: Bytes
GB: Bytes
TB: Bytes
KiB: Bytes
MiB: Bytes
GiB: Bytes
TiB: Bytes
def copy(*what: _Name | Query, platform: _Path | Sequence[_Path] | None = ..., to: _Path | None = ..., with_referrers: bool = ..., dry_run: bool = ...) -> Statement:
    """Copy images from registry to registry without storing them here, indexes whole; to takes a name, a host or namespace below which names are kept, or a template. With referrers, signatures, attestations and bills of materials go along. In text: `copy redis:7, alpine:3.19 to registry.local:5000/mirror`"""
    ...
def exec(*what: _Name | Query, run: _Path | Sequence[_Path] | None = ..., dry_run: bool = ...) -> Statement:
    """Run a program for each row, without a shell; each word of it is a template of the row. In text: `exec images where in use run trivy image "{{.Name}}"`"""
    ...
def exec_(*what: _Name | Query, run: _Path | Sequence[_Path] | None = ..., dry_run: bool = ...) -> Statement:
    """Run a program for each row, without a shell; each word of it is a template of the row. In text: `exec images where in use run trivy image "{{.Name}}"`"""
    ...
def export(*what: _Name | Query, to: _Path | None = ..., force: bool = ..., skip_existing: bool = ..., dry_run: bool = ...) -> Statement:
    """Unpack an image to a folder, or to an archive: the files that a container of it would see. A template of paths makes one for each row. In text: `export redis:7 to "rootfs"`"""
    ...
def import_(*what: _Path, as_: _Path | None = ..., change: _Path | Sequence[_Path] | None = ..., message: _Path | None = ..., platform: _Path | Sequence[_Path] | None = ..., dry_run: bool = ...) -> Statement:
    """Make an image of one layer from a folder or a tar archive; change takes Dockerfile instructions. In text: `import ./rootfs as team/base:1 change "LABEL env=prod", "CMD [\\"sh\\"]"`"""
    ...
def index(*what: _Name | Query, as_: _Path | None = ..., dry_run: bool = ...) -> Statement:
    """Make one image for several platforms, in a registry, of images that are there. In text: `index tags of registry.local:5000/team/app where tag like v1-* as registry.local:5000/team/app:v1`"""
    ...
def inspect(*what: _Name | Query) -> Statement:
    """Show all that is known of images, as JSON in docker's words. In text: `inspect redis:7 format "{{.Config.Cmd}}"`"""
    ...
def load(*what: _Path, dry_run: bool = ...) -> Statement:
    """Take in the images of an archive that docker save, podman save or imq save wrote, or of an OCI layout. In text: `load "images.tar"`"""
    ...
def login(*what: _Name | Query, as_: _Path | None = ..., from_: _Path | None = ..., dry_run: bool = ...) -> Statement:
    """Try a user and password at a registry (Docker Hub when none is named), and keep them where docker does. The password is asked for, or read from a file or stdin: it never stands in a statement. In text: `login registry.local:5000 as me from stdin`"""
    ...
def logout(*what: _Name | Query, dry_run: bool = ...) -> Statement:
    """Forget the credentials for registries (Docker Hub when none is named), where docker keeps them. In text: `logout registry.local:5000`"""
    ...
def prune(*what: _Name | Query, dry_run: bool = ...) -> Statement:
    """Remove the images that are dangling and not in use: of a query, or all, with what failed transfers left. In text: `prune images where older than 7d`"""
    ...
def pull(*what: _Name | Query, platform: _Path | Sequence[_Path] | None = ..., dry_run: bool = ...) -> Statement:
    """Fetch images from their registries, and artifacts; layers that are here already do not travel. Of several platforms one is taken; more of them, or all, with the index that names them. In text: `pull redis:7 platform linux/amd64, linux/arm64`"""
    ...
def push(*what: _Name | Query, platform: _Path | Sequence[_Path] | None = ..., to: _Path | None = ..., dry_run: bool = ...) -> Statement:
    """Send images to the registries in their names; to takes another name for one image, a host or namespace below which names are kept, or a template. An index goes whole, unless platforms are named. In text: `push team/app:1 to registry.local:5000/team/app:1`"""
    ...
def reindex(*, dry_run: bool = ...) -> Statement:
    """Derive the index again from the blobs of the store. In text: `reindex`"""
    ...
def rename(*what: _Name | Query, as_: _Path | None = ..., dry_run: bool = ...) -> Statement:
    """Give an image another name and take the old one away. Over a query the new name is a template. In text: `rename images where repository = old as "new:{{.Tag}}"`"""
    ...
def rm(*what: _Name | Query, force: bool = ..., platform: _Path | Sequence[_Path] | None = ..., with_its_tags: bool = ..., dry_run: bool = ...) -> Statement:
    """Take names away, and each image with its last name; its layers go when no other image has them. In text: `rm images where repository like "team/*" and older than 30d`"""
    ...
def save(*what: _Name | Query, to: _Path | None = ..., force: bool = ..., skip_existing: bool = ..., dry_run: bool = ...) -> Statement:
    """Write images into one archive that docker load, podman, skopeo and imq read; a template of paths makes one for each row. A file that is there is replaced with force, or when you confirm it; skip existing leaves it. In text: `save images where label.env = prod to "prod.tar"`"""
    ...
def tag(*what: _Name | Query, as_: _Path | None = ..., dry_run: bool = ...) -> Statement:
    """Give an image a name; a name that another image has moves. Over a query the name is a template. In text: `tag redis:7 as team/cache:stable`"""
    ...
def untag(*what: _Name | Query, dry_run: bool = ...) -> Statement:
    """Take names away; the images stay, dangling when it was their last name. In text: `untag app:1`"""
    ...
def verify(*what: _Name | Query, all: bool = ..., repair: bool = ..., dry_run: bool = ...) -> Statement:
    """Hash every blob of the images again and unpack their layers; verify all takes every image. With repair what is damaged or missing is fetched again, from the registries in the images' names. In text: `verify all repair`"""
    ...
def lower(text: Value, /) -> Expression:
    """the string in lower case."""
    ...
def upper(text: Value, /) -> Expression:
    """the string in upper case."""
    ...
def length(text: Value, /) -> Expression:
    """the number of characters of a string, or of items of a list."""
    ...
def replace(text: Value, text_2: Value, text_3: Value, /) -> Expression:
    """the string with every occurrence of the second argument replaced by the third."""
    ...
def capture(text: Value, text_2: Value, number: Value = ..., /) -> Expression:
    """the match of a regular expression in the string: the group of this number, else the first group, else the whole match; unknown without a match."""
    ...
def path_match(text: Value, text_2: Value, /) -> Expression:
    """whether a pattern of docker's reference filter matches the whole string; * and ? do not match a slash."""
    ...
def split(text: Value, text_2: Value, /) -> Expression:
    """the parts of the string between the separators."""
    ...
def join(items: Value, text: Value, /) -> Expression:
    """the items of the list with the string between them."""
    ...
def basename(text: Value, /) -> Expression:
    """the part of the string after its last slash."""
    ...
def dirname(text: Value, /) -> Expression:
    """the part of the string before its last slash."""
    ...
def coalesce(value: Value, value_2: Value, /, *more: Value) -> Expression:
    """the first argument that is not unknown."""
    ...
def if_(condition: Value, value: Value, value_2: Value, /) -> Expression:
    """the second argument if the first is true, else the third."""
    ...
def age(time: Value, /) -> Expression:
    """how long ago the time was."""
    ...
def now() -> Expression:
    """the start time of the statement."""
    ...
def year(time: Value, /) -> Expression:
    """the year of the time, in the local time zone."""
    ...
def month(time: Value, /) -> Expression:
    """the month of the time, 1 to 12, in the local time zone."""
    ...
def day(time: Value, /) -> Expression:
    """the day of the month of the time, in the local time zone."""
    ...
def count(value: Value = ..., /, *, distinct: bool = ...) -> Expression:
    """the number of rows, or of rows whose argument is known. A row of images is a name: count(distinct images) counts each image once."""
    ...
def sum(value: Value, /, *, distinct: bool = ...) -> Expression:
    """the sum of the known values."""
    ...
def sum_(value: Value, /, *, distinct: bool = ...) -> Expression:
    """the sum of the known values."""
    ...
def avg(value: Value, /, *, distinct: bool = ...) -> Expression:
    """the mean of the known values."""
    ...
def min(value: Value, /, *, distinct: bool = ...) -> Expression:
    """the smallest known value."""
    ...
def min_(value: Value, /, *, distinct: bool = ...) -> Expression:
    """the smallest known value."""
    ...
def max(value: Value, /, *, distinct: bool = ...) -> Expression:
    """the largest known value."""
    ...
def max_(value: Value, /, *, distinct: bool = ...) -> Expression:
    """the largest known value."""
    ...
def list(value: Value, /, *, distinct: bool = ...) -> Expression:
    """the known values as a sorted list; several lists of the same rows have one item for each row, in the same order, with null for unknown values."""
    ...
def list_(value: Value, /, *, distinct: bool = ...) -> Expression:
    """the known values as a sorted list; several lists of the same rows have one item for each row, in the same order, with null for unknown values."""
    ...
in_use: Expression
"""Whether a container was made from the image: `in use` in text."""
def older_than(duration: Value, /) -> Expression:
    """Whether the image was created longer ago: `older than 30d` in text."""
    ...
def newer_than(duration: Value, /) -> Expression:
    """Whether the image was created more recently: `newer than 2 weeks` in text."""
    ...
def based_on(image: _Name | Reference, /) -> Expression:
    """Whether the lowest layers are all the layers of that image: `based on debian:12` in text."""
    ...
def shares_layers_with(image: _Name | Reference, /) -> Expression:
    """Whether the two images have a layer in common: `shares layers with redis:7` in text."""
    ...
def contains_file(glob: Value, /) -> Expression:
    """Whether the path of a file in the image matches the glob: `contains file "*log4j*.jar"` in text."""
    ...
def contains_package(name: Value, /) -> Expression:
    """Whether the package of that name is installed in the image: `contains package openssl` in text."""
    ...
local_only: Expression
"""Whether the registry does not have the tag: `local only` in text."""
