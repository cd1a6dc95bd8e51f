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
    """the container's id"""
    name: Path
    """its name"""
    image: Path
    """the name of the image that it was made from"""
    image_id: Path
    """the id of that image"""
    status: Path
    """created, running, paused, exited or dead"""
    created: Path
    """when it was made"""
    finished: Path
    """when it last ended; unknown while it runs"""
    size_rw: Path
    """bytes that it has written"""
    labels: _Map
    """its labels; labels.KEY is one of them"""
    ports: Path
    """its ports"""
    source: Path
    """the place that holds it"""

class _History(Path):
    """A relation to history, and their fields."""

    image: Path
    """the id of the image"""
    index: Path
    """the place of the step, 0 for the first"""
    created: Path
    """when the step was run"""
    created_by: Path
    """the command of the step"""
    size: Path
    """bytes of the files in the layer it made; 0 for a step without a layer"""
    empty: Path
    """the step made no layer"""
    comment: Path
    """what the builder remarked"""
    layer: Path
    """the digest of the layer it made"""
    source: Path
    """the place that holds it"""

class _Images(Path):
    """A relation to images, and their fields."""

    id: Path
    """the image's id: the digest of its config"""
    name: Path
    """repository and tag (or digest) as one writes them"""
    registry: Path
    """the registry's host; docker.io when the name gives none"""
    repository: Path
    """the name without its tag, as docker shows it"""
    tag: Path
    """the tag"""
    version: Path
    """the version that the tag says; unknown when it says none. version.major, version.minor, version.patch, version.prerelease and version.variant are its parts"""
    version_major: Path
    """the first number of the version"""
    version_minor: Path
    """the second number of the version"""
    version_patch: Path
    """the third number of the version"""
    version_prerelease: Path
    """what says that it is no release yet: rc1, beta.2"""
    version_variant: Path
    """what stands behind the version: alpine, bookworm-slim"""
    digest: Path
    """the digest by which the registry knows the name; unknown when it never came from one"""
    manifest_digest: Path
    """the digest of the manifest of this platform"""
    created: Path
    """when the image was built; unknown when its config says nothing, zero or the epoch"""
    size: Path
    """bytes of the files in its layers, unpacked; shared layers count in full"""
    download_size: Path
    """bytes of its config and layers as they travel"""
    shared_size: Path
    """the part of size in layers that another image of the store has too"""
    unique_size: Path
    """the part of size in layers that no other image of the store has"""
    chain_id: Path
    """the digest that stands for all its layers in their order; images with the same files have the same"""
    layer_count: Path
    """how many layers it has"""
    platform: Path
    """os/architecture[/variant]"""
    os: Path
    """the operating system"""
    architecture: Path
    """the processor, in Go's words: amd64, arm64"""
    variant: Path
    """the processor's variant: v7, v8"""
    os_version: Path
    """the version of the operating system (Windows images say it)"""
    label: _Map
    """the labels; label.KEY is one of them"""
    env: _Map
    """the environment; env.NAME is one variable"""
    user: Path
    """the user that containers run as; unknown means root"""
    entrypoint: Path
    """the entry point, word by word"""
    cmd: Path
    """the default command, word by word"""
    workdir: Path
    """the working directory"""
    ports: Path
    """the exposed ports, such as 80/tcp"""
    volumes: Path
    """the declared volumes"""
    healthcheck: Path
    """the health check's command; unknown when there is none"""
    stop_signal: Path
    """the signal that stops a container"""
    author: Path
    """who made the image, as its config says"""
    annotations: _Map
    """the annotations of the manifest; annotations.KEY is one of them"""
    media_type: Path
    """the media type of the manifest"""
    dangling: Path
    """the image has no tag"""
    in_use: Path
    """a container, running or stopped, was made from the image"""
    containers: Path
    """how many containers were made from the image"""
    pulled_at: Path
    """when this name was brought here or last set here"""
    last_used: Path
    """when a container last used the image; unknown until imq has seen one"""
    source: Path
    """the place that holds it"""

class _Layers(Path):
    """A relation to layers, and their fields."""

    image: Path
    """the id of the image"""
    index: Path
    """the place in the image, 0 at the bottom"""
    digest: Path
    """the digest of the layer as it travels"""
    diff_id: Path
    """the digest of the layer unpacked"""
    chain_id: Path
    """the digest that stands for this layer and all below it"""
    size: Path
    """bytes of the files in the layer"""
    download_size: Path
    """bytes of the layer as it travels"""
    media_type: Path
    """the media type of the layer"""
    created: Path
    """when the step that made it was run"""
    created_by: Path
    """the step that made it"""
    images: Path
    """how many images of the store have the layer"""
    source: Path
    """the place that holds it"""

class _Manifests(Path):
    """A relation to manifests, and their fields."""

    name: Path
    """repository@digest"""
    registry: Path
    """the registry's host"""
    repository: Path
    """the repository, as one writes it"""
    digest: Path
    """its digest"""
    tags: Path
    """its tags; unknown when it has none"""
    parent_index: Path
    """an index that lists it"""
    subject: Path
    """what it is attached to"""
    media_type: Path
    """its media type"""
    artifact_type: Path
    """what kind of artifact it is; unknown for images"""
    annotations: _Map
    """its annotations"""
    size: Path
    """bytes of its config and layers as they travel"""
    layer_count: Path
    """how many layers it has"""
    id: Path
    """the image's id: the digest of its config"""
    created: Path
    """when the image was built; unknown when its config says nothing, zero or the epoch"""
    platform: Path
    """os/architecture[/variant]"""
    problem: Path
    """why its registry did not tell more of it"""
    source: Path
    """the registry that holds it"""

class _Platforms(Path):
    """A relation to platforms, and their fields."""

    name: Path
    """what the index was asked as"""
    registry: Path
    """the registry's host"""
    repository: Path
    """the repository, as one writes it"""
    position: Path
    """its place in the index, 0 for the first"""
    platform: Path
    """os/architecture[/variant]"""
    os: Path
    """the operating system"""
    architecture: Path
    """the processor"""
    variant: Path
    """the processor's variant"""
    os_version: Path
    """the version of the operating system"""
    digest: Path
    """the digest of the entry's manifest"""
    media_type: Path
    """the media type of the entry's manifest"""
    attestation: Path
    """it is no image, but says something about another entry"""
    annotations: _Map
    """the annotations of the entry"""
    size: Path
    """bytes of its config and layers as they travel"""
    layer_count: Path
    """how many layers it has"""
    id: Path
    """the image's id: the digest of its config"""
    created: Path
    """when the image was built; unknown when its config says nothing, zero or the epoch"""
    problem: Path
    """why its registry did not tell more of it"""
    source: Path
    """the registry that holds it"""

class _Referrers(Path):
    """A relation to referrers, and their fields."""

    name: Path
    """repository@digest"""
    registry: Path
    """the registry's host"""
    repository: Path
    """the repository, as one writes it"""
    subject: Path
    """what it is attached to"""
    artifact_type: Path
    """what kind of artifact it is"""
    digest: Path
    """the digest of its manifest"""
    media_type: Path
    """the media type of its manifest"""
    annotations: _Map
    """its annotations"""
    created: Path
    """when it was made, as its annotation org.opencontainers.image.created says"""
    size: Path
    """bytes of its manifest"""
    problem: Path
    """why its registry did not tell more of it"""
    source: Path
    """the registry that holds it"""

class _Tags(Path):
    """A relation to tags, and their fields."""

    name: Path
    """repository and tag (or digest) as one writes them"""
    registry: Path
    """the registry's host; docker.io when the name gives none"""
    repository: Path
    """the name without its tag, as docker shows it"""
    tag: Path
    """the tag"""
    version: Path
    """the version that the tag says; unknown when it says none. version.major, version.minor, version.patch, version.prerelease and version.variant are its parts"""
    version_major: Path
    """the first number of the version"""
    version_minor: Path
    """the second number of the version"""
    version_patch: Path
    """the third number of the version"""
    version_prerelease: Path
    """what says that it is no release yet: rc1, beta.2"""
    version_variant: Path
    """what stands behind the version: alpine, bookworm-slim"""
    digest: Path
    """the digest that the tag stands for"""
    media_type: Path
    """the media type of what the tag stands for"""
    artifact_type: Path
    """what kind of artifact it is; unknown for images"""
    platforms: Path
    """the platforms of an index, without attestations"""
    manifest_digest: Path
    """the digest of the manifest of this platform"""
    id: Path
    """the image's id: the digest of its config"""
    layer_count: Path
    """how many layers it has"""
    annotations: _Map
    """the annotations of the manifest; annotations.KEY is one of them"""
    size: Path
    """bytes of its config and layers as they travel; registries do not tell what they unpack to"""
    download_size: Path
    """bytes of its config and layers as they travel"""
    created: Path
    """when the image was built; unknown when its config says nothing, zero or the epoch"""
    platform: Path
    """os/architecture[/variant]"""
    os: Path
    """the operating system"""
    architecture: Path
    """the processor, in Go's words: amd64, arm64"""
    variant: Path
    """the processor's variant: v7, v8"""
    os_version: Path
    """the version of the operating system (Windows images say it)"""
    label: _Map
    """the labels; label.KEY is one of them"""
    env: _Map
    """the environment; env.NAME is one variable"""
    user: Path
    """the user that containers run as; unknown means root"""
    entrypoint: Path
    """the entry point, word by word"""
    cmd: Path
    """the default command, word by word"""
    workdir: Path
    """the working directory"""
    ports: Path
    """the exposed ports, such as 80/tcp"""
    volumes: Path
    """the declared volumes"""
    healthcheck: Path
    """the health check's command; unknown when there is none"""
    stop_signal: Path
    """the signal that stops a container"""
    author: Path
    """who made the image, as its config says"""
    signed: Path
    """a signature of it is there: cosign's tag, or attached as a referrer"""
    problem: Path
    """why its registry did not tell more of it"""
    source: Path
    """the registry that holds it"""

class _Image(Reference):
    """An image that is named, and its fields."""

    annotation: _Map
    """the annotations of the manifest; annotations.KEY is one of them"""
    annotations: _Map
    """the annotations of the manifest; annotations.KEY is one of them"""
    arch: Path
    """the processor, in Go's words: amd64, arm64"""
    architecture: Path
    """the processor, in Go's words: amd64, arm64"""
    author: Path
    """who made the image, as its config says"""
    chain_id: Path
    """the digest that stands for all its layers in their order; images with the same files have the same"""
    cmd: Path
    """the default command, word by word"""
    command: Path
    """the default command, word by word"""
    containers: Path
    """how many containers were made from the image"""
    created: Path
    """when the image was built; unknown when its config says nothing, zero or the epoch"""
    dangling: Path
    """the image has no tag"""
    digest: Path
    """the digest by which the registry knows the name; unknown when it never came from one"""
    download_size: Path
    """bytes of its config and layers as they travel"""
    entrypoint: Path
    """the entry point, word by word"""
    env: _Map
    """the environment; env.NAME is one variable"""
    environment: _Map
    """the environment; env.NAME is one variable"""
    exposed_ports: Path
    """the exposed ports, such as 80/tcp"""
    healthcheck: Path
    """the health check's command; unknown when there is none"""
    id: Path
    """the image's id: the digest of its config"""
    in_use: Path
    """a container, running or stopped, was made from the image"""
    label: _Map
    """the labels; label.KEY is one of them"""
    labels: _Map
    """the labels; label.KEY is one of them"""
    last_used: Path
    """when a container last used the image; unknown until imq has seen one"""
    layer_count: Path
    """how many layers it has"""
    layers: Path
    """how many layers it has"""
    major: Path
    """the first number of the version"""
    manifest_digest: Path
    """the digest of the manifest of this platform"""
    media_type: Path
    """the media type of the manifest"""
    minor: Path
    """the second number of the version"""
    name: Path
    """repository and tag (or digest) as one writes them"""
    operating_system: Path
    """the operating system"""
    os: Path
    """the operating system"""
    os_version: Path
    """the version of the operating system (Windows images say it)"""
    patch: Path
    """the third number of the version"""
    platform: Path
    """os/architecture[/variant]"""
    ports: Path
    """the exposed ports, such as 80/tcp"""
    prerelease: Path
    """what says that it is no release yet: rc1, beta.2"""
    pulled_at: Path
    """when this name was brought here or last set here"""
    reference: Path
    """repository and tag (or digest) as one writes them"""
    registry: Path
    """the registry's host; docker.io when the name gives none"""
    repo: Path
    """the name without its tag, as docker shows it"""
    repository: Path
    """the name without its tag, as docker shows it"""
    shared_size: Path
    """the part of size in layers that another image of the store has too"""
    size: Path
    """bytes of the files in its layers, unpacked; shared layers count in full"""
    source: Path
    """the place that holds it"""
    stop_signal: Path
    """the signal that stops a container"""
    tag: Path
    """the tag"""
    unique_size: Path
    """the part of size in layers that no other image of the store has"""
    user: Path
    """the user that containers run as; unknown means root"""
    variant: Path
    """the processor's variant: v7, v8"""
    version: Path
    """the version that the tag says; unknown when it says none. version.major, version.minor, version.patch, version.prerelease and version.variant are its parts"""
    version_major: Path
    """the first number of the version"""
    version_minor: Path
    """the second number of the version"""
    version_patch: Path
    """the third number of the version"""
    version_prerelease: Path
    """what says that it is no release yet: rc1, beta.2"""
    version_variant: Path
    """what stands behind the version: alpine, bookworm-slim"""
    volumes: Path
    """the declared volumes"""
    workdir: Path
    """the working directory"""
    working_dir: Path
    """the working directory"""

class _Fields:
    """The fields of all tables."""

    active: Path
    """usage: how many containers use"""
    address: Path
    """sources: where it is"""
    annotation: _Map
    """images: the annotations of the manifest; annotations.KEY is one of them; tags: the annotations of the manifest; annotations.KEY is one of them; platforms: the annotations of the entry; manifests: its annotations; referrers: its annotations"""
    annotations: _Map
    """images: the annotations of the manifest; annotations.KEY is one of them; tags: the annotations of the manifest; annotations.KEY is one of them; platforms: the annotations of the entry; manifests: its annotations; referrers: its annotations"""
    arch: Path
    """images: the processor, in Go's words: amd64, arm64; tags: the processor, in Go's words: amd64, arm64; platforms: the processor"""
    architecture: Path
    """images: the processor, in Go's words: amd64, arm64; tags: the processor, in Go's words: amd64, arm64; platforms: the processor"""
    artifact_type: Path
    """tags: what kind of artifact it is; unknown for images; manifests: what kind of artifact it is; unknown for images; referrers: what kind of artifact it is"""
    attestation: Path
    """platforms: it is no image, but says something about another entry"""
    author: Path
    """images: who made the image, as its config says; tags: who made the image, as its config says"""
    automated: Path
    """search: it is built automatically"""
    base: _Images
    """images: the image of the store with the most layers that are the first of this one's; one name of it"""
    chain_id: Path
    """images: the digest that stands for all its layers in their order; images with the same files have the same; layers: the digest that stands for this layer and all below it"""
    children: _Images
    """images: the images whose base it is"""
    cmd: Path
    """images: the default command, word by word; tags: the default command, word by word"""
    command: Path
    """images: the default command, word by word; tags: the default command, word by word"""
    comment: Path
    """history: what the builder remarked"""
    containers: _Containers
    """images: the containers made from it; images: how many containers were made from the image"""
    created: Path
    """images: when the image was built; unknown when its config says nothing, zero or the epoch; layers: when the step that made it was run; history: when the step was run; containers: when it was made; tags: when the image was built; unknown when its config says nothing, zero or the epoch; platforms: when the image was built; unknown when its config says nothing, zero or the epoch; manifests: when the image was built; unknown when its config says nothing, zero or the epoch; referrers: when it was made, as its annotation org.opencontainers.image.created says"""
    created_by: Path
    """layers: the step that made it; history: the command of the step"""
    dangling: Path
    """images: the image has no tag"""
    description: Path
    """search: what its owner says of it"""
    diff_id: Path
    """layers: the digest of the layer unpacked"""
    digest: Path
    """images: the digest by which the registry knows the name; unknown when it never came from one; layers: the digest of the layer as it travels; tags: the digest that the tag stands for; platforms: the digest of the entry's manifest; manifests: its digest; referrers: the digest of its manifest"""
    download_size: Path
    """images: bytes of its config and layers as they travel; layers: bytes of the layer as it travels; tags: bytes of its config and layers as they travel; platforms: bytes of its config and layers as they travel; manifests: bytes of its config and layers as they travel"""
    empty: Path
    """history: the step made no layer"""
    entrypoint: Path
    """images: the entry point, word by word; tags: the entry point, word by word"""
    env: _Map
    """images: the environment; env.NAME is one variable; tags: the environment; env.NAME is one variable"""
    environment: _Map
    """images: the environment; env.NAME is one variable; tags: the environment; env.NAME is one variable"""
    exposed_ports: Path
    """images: the exposed ports, such as 80/tcp; tags: the exposed ports, such as 80/tcp"""
    finished: Path
    """containers: when it last ended; unknown while it runs"""
    healthcheck: Path
    """images: the health check's command; unknown when there is none; tags: the health check's command; unknown when there is none"""
    history: _History
    """images: the steps of its build; tags: the steps of the image's build; platforms: the steps of its build"""
    id: Path
    """images: the image's id: the digest of its config; containers: the container's id; tags: the image's id: the digest of its config; platforms: the image's id: the digest of its config; manifests: the image's id: the digest of its config"""
    image: Path
    """layers: the id of the image; history: the id of the image; containers: the name of the image that it was made from"""
    image_id: Path
    """containers: the id of that image"""
    images: Path
    """layers: how many images of the store have the layer; sources: how many images it has; unknown when it does not answer"""
    in_use: Path
    """images: a container, running or stopped, was made from the image"""
    index: Path
    """layers: the place in the image, 0 at the bottom; history: the place of the step, 0 for the first"""
    kind: Path
    """sources: what it is"""
    label: _Map
    """images: the labels; label.KEY is one of them; containers: its labels; labels.KEY is one of them; tags: the labels; label.KEY is one of them"""
    labels: _Map
    """images: the labels; label.KEY is one of them; containers: its labels; labels.KEY is one of them; tags: the labels; label.KEY is one of them"""
    last_used: Path
    """images: when a container last used the image; unknown until imq has seen one"""
    layer: Path
    """history: the digest of the layer it made"""
    layer_count: Path
    """images: how many layers it has; tags: how many layers it has; platforms: how many layers it has; manifests: how many layers it has"""
    layers: _Layers
    """images: the layers it is made of; images: how many layers it has; tags: the layers of the image; tags: how many layers it has; platforms: its layers"""
    line: Path
    """lines: the line, without the blanks around it"""
    major: Path
    """images: the first number of the version; tags: the first number of the version"""
    manifest_digest: Path
    """images: the digest of the manifest of this platform; tags: the digest of the manifest of this platform"""
    manifests: _Manifests
    """platforms: its manifest, if the registry has it"""
    media_type: Path
    """images: the media type of the manifest; layers: the media type of the layer; tags: the media type of what the tag stands for; platforms: the media type of the entry's manifest; manifests: its media type; referrers: the media type of its manifest"""
    minor: Path
    """images: the second number of the version; tags: the second number of the version"""
    name: Path
    """images: repository and tag (or digest) as one writes them; containers: its name; tags: repository and tag (or digest) as one writes them; repositories: the repository, as one writes it; platforms: what the index was asked as; manifests: repository@digest; referrers: repository@digest; search: the repository, as one writes it; sources: what it is called after `in` and `use`"""
    names: _Images
    """layers: the image that has it, once for each name; history: the image that has it, once for each name; containers: the image that it was made from, once for each name"""
    number: Path
    """lines: its number, 1 for the first that is not empty"""
    official: Path
    """search: it is one of Docker's official images"""
    operating_system: Path
    """images: the operating system; tags: the operating system"""
    os: Path
    """images: the operating system; tags: the operating system; platforms: the operating system"""
    os_version: Path
    """images: the version of the operating system (Windows images say it); tags: the version of the operating system (Windows images say it); platforms: the version of the operating system"""
    outdated: Expression
    """its tag names another digest in its registry now"""
    parent_index: Path
    """manifests: an index that lists it"""
    patch: Path
    """images: the third number of the version; tags: the third number of the version"""
    platform: Path
    """images: os/architecture[/variant]; tags: os/architecture[/variant]; platforms: os/architecture[/variant]; manifests: os/architecture[/variant]"""
    platforms: _Platforms
    """tags: the entries of its index; the image itself when it is none; tags: the platforms of an index, without attestations"""
    ports: Path
    """images: the exposed ports, such as 80/tcp; containers: its ports; tags: the exposed ports, such as 80/tcp"""
    position: Path
    """platforms: its place in the index, 0 for the first"""
    prerelease: Path
    """images: what says that it is no release yet: rc1, beta.2; tags: what says that it is no release yet: rc1, beta.2"""
    problem: Path
    """tags: why its registry did not tell more of it; repositories: why its registry did not tell more of it; platforms: why its registry did not tell more of it; manifests: why its registry did not tell more of it; referrers: why its registry did not tell more of it"""
    pulled_at: Path
    """images: when this name was brought here or last set here"""
    reachable: Path
    """sources: it answers"""
    reclaimable: Path
    """usage: the part of it that nothing active needs"""
    reference: Path
    """images: repository and tag (or digest) as one writes them; tags: repository and tag (or digest) as one writes them"""
    referrers: _Referrers
    """tags: what is attached to it"""
    registry: Path
    """images: the registry's host; docker.io when the name gives none; tags: the registry's host; docker.io when the name gives none; repositories: the registry's host; platforms: the registry's host; manifests: the registry's host; referrers: the registry's host; search: the registry's host"""
    remote: _Tags
    """images: what its registry has now under its name; lines: what its registry has now under its name; rows: what its registry has now under its name"""
    repo: Path
    """images: the name without its tag, as docker shows it; tags: the name without its tag, as docker shows it"""
    repository: Path
    """images: the name without its tag, as docker shows it; tags: the name without its tag, as docker shows it; repositories: the repository, as one writes it; platforms: the repository, as one writes it; manifests: the repository, as one writes it; referrers: the repository, as one writes it"""
    shared_size: Path
    """images: the part of size in layers that another image of the store has too"""
    signed: Path
    """tags: a signature of it is there: cosign's tag, or attached as a referrer"""
    size: Path
    """images: bytes of the files in its layers, unpacked; shared layers count in full; layers: bytes of the files in the layer; history: bytes of the files in the layer it made; 0 for a step without a layer; tags: bytes of its config and layers as they travel; registries do not tell what they unpack to; repositories: bytes of what its tags reach, manifests, configs and layers, each once; a sum of several repositories counts what they share in each; platforms: bytes of its config and layers as they travel; manifests: bytes of its config and layers as they travel; referrers: bytes of its manifest; usage: bytes on disk, shared ones once"""
    size_rw: Path
    """containers: bytes that it has written"""
    source: Path
    """images: the place that holds it; layers: the place that holds it; history: the place that holds it; containers: the place that holds it; tags: the registry that holds it; repositories: the registry that holds it; platforms: the registry that holds it; manifests: the registry that holds it; referrers: the registry that holds it; search: the registry that holds it"""
    stars: Path
    """search: how many like it"""
    status: Path
    """containers: created, running, paused, exited or dead"""
    stop_signal: Path
    """images: the signal that stops a container; tags: the signal that stops a container"""
    subject: Path
    """manifests: what it is attached to; referrers: what it is attached to"""
    tag: Path
    """images: the tag; tags: the tag; manifests: its tags; unknown when it has none"""
    tag_count: Path
    """repositories: how many tags it has"""
    tags: _Tags
    """repositories: its tags; manifests: its tags; unknown when it has none"""
    total: Path
    """usage: how many there are"""
    type: Path
    """usage: the kind of thing"""
    unique_size: Path
    """images: the part of size in layers that no other image of the store has"""
    user: Path
    """images: the user that containers run as; unknown means root; tags: the user that containers run as; unknown means root"""
    variant: Path
    """images: the processor's variant: v7, v8; tags: the processor's variant: v7, v8; platforms: the processor's variant"""
    version: Path
    """images: the version that the tag says; unknown when it says none. version.major, version.minor, version.patch, version.prerelease and version.variant are its parts; tags: the version that the tag says; unknown when it says none. version.major, version.minor, version.patch, version.prerelease and version.variant are its parts"""
    version_major: Path
    """images: the first number of the version; tags: the first number of the version"""
    version_minor: Path
    """images: the second number of the version; tags: the second number of the version"""
    version_patch: Path
    """images: the third number of the version; tags: the third number of the version"""
    version_prerelease: Path
    """images: what says that it is no release yet: rc1, beta.2; tags: what says that it is no release yet: rc1, beta.2"""
    version_variant: Path
    """images: what stands behind the version: alpine, bookworm-slim; tags: what stands behind the version: alpine, bookworm-slim"""
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
"""One row for each name of each image, as `docker image ls` shows them; an image without a name is one row."""
layers: Table
"""One row for each layer of each image, bottom layer first. Those of images in registries are asked of them: layers of registry.local:5000/team/app:1, layers of (tags of registry.local:5000/team/app where …). These also tell name, registry, repository, manifest_digest, platform and problem, and their size is download_size."""
history: Table
"""One row for each step of the build of each image, first step first; of images in registries too, as layers are."""
containers: Table
"""One row for each container, running or stopped. The embedded store makes none."""
tags: Table
"""One row for each tag of repositories of registries. Of an index it tells of the image for this machine, or for the platform that the condition names (platform = linux/arm64)."""
repositories: Table
"""One row for each repository of a registry, as its catalog lists them."""
platforms: Table
"""One row for each entry of an index, attestations too; a single image is one row."""
manifests: Table
"""One row for each manifest of a repository that is known: those of its tags, the children of their indexes, what is attached to them, and those that once were, as far as imq has seen them and they are still there. Registries list none without a tag."""
referrers: Table
"""One row for each artifact that is attached to an image: signatures, attestations, bills of materials."""
search: Table
"""One row for each repository that a search finds: search redis, search redis in registry.local:5000."""
lines: Table
"""One row for each line of a text file (or of standard input: lines of stdin) that is not empty."""
rows: Table
"""One row for each object of a JSON, CSV or YAML file; its fields are what the file has. Of a file with names (images as json) it can be asked what registries have under them."""
sources: Table
"""One row for each place that images can be asked of."""
usage: Table
"""What the disk is used for, one row for each kind of thing, as docker system df shows it."""
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
    """the text in lower case."""
    ...
def upper(text: Value, /) -> Expression:
    """the text in upper case."""
    ...
def length(text: Value, /) -> Expression:
    """how many characters a text has, or items a list."""
    ...
def replace(text: Value, text_2: Value, text_3: Value, /) -> Expression:
    """the text with every occurrence of the second replaced by the third."""
    ...
def capture(text: Value, text_2: Value, number: Value = ..., /) -> Expression:
    """what a regular expression finds in the text: its group of this number, else its first, else all of it; unknown when it finds nothing."""
    ...
def path_match(text: Value, text_2: Value, /) -> Expression:
    """whether a pattern of docker's reference filter matches the whole text: its * and ? stop at a slash."""
    ...
def split(text: Value, text_2: Value, /) -> Expression:
    """the parts of the text between the separators."""
    ...
def join(items: Value, text: Value, /) -> Expression:
    """the items of the list with the text between them."""
    ...
def basename(text: Value, /) -> Expression:
    """what stands behind the last slash of the text."""
    ...
def dirname(text: Value, /) -> Expression:
    """what stands before the last slash of the text."""
    ...
def coalesce(value: Value, value_2: Value, /, *more: Value) -> Expression:
    """the first of its arguments that is known."""
    ...
def if_(condition: Value, value: Value, value_2: Value, /) -> Expression:
    """the second argument where the first holds, else the third."""
    ...
def age(time: Value, /) -> Expression:
    """how long ago the time was."""
    ...
def now() -> Expression:
    """the time at which the statement began."""
    ...
def year(time: Value, /) -> Expression:
    """the year of the time, in the local zone."""
    ...
def month(time: Value, /) -> Expression:
    """the month of the time, 1 to 12, in the local zone."""
    ...
def day(time: Value, /) -> Expression:
    """the day of the month of the time, in the local zone."""
    ...
def count(value: Value = ..., /, *, distinct: bool = ...) -> Expression:
    """how many rows; how many of the argument are known. A row of images is a name: count(distinct images) counts each image once."""
    ...
def sum(value: Value, /, *, distinct: bool = ...) -> Expression:
    """the sum of what is known."""
    ...
def sum_(value: Value, /, *, distinct: bool = ...) -> Expression:
    """the sum of what is known."""
    ...
def avg(value: Value, /, *, distinct: bool = ...) -> Expression:
    """the mean of what is known."""
    ...
def min(value: Value, /, *, distinct: bool = ...) -> Expression:
    """the smallest that is known."""
    ...
def min_(value: Value, /, *, distinct: bool = ...) -> Expression:
    """the smallest that is known."""
    ...
def max(value: Value, /, *, distinct: bool = ...) -> Expression:
    """the largest that is known."""
    ...
def max_(value: Value, /, *, distinct: bool = ...) -> Expression:
    """the largest that is known."""
    ...
def list(value: Value, /, *, distinct: bool = ...) -> Expression:
    """all that are known, as a list in their order; several lists of the same rows have an item for each row, in one order, with null for what is unknown."""
    ...
def list_(value: Value, /, *, distinct: bool = ...) -> Expression:
    """all that are known, as a list in their order; several lists of the same rows have an item for each row, in one order, with null for what is unknown."""
    ...
in_use: Expression
"""Whether a container was made from the image: `in use` in text."""
def older_than(duration: Value, /) -> Expression:
    """Whether created longer ago than that: `older than 30d` in text."""
    ...
def newer_than(duration: Value, /) -> Expression:
    """Whether created more recently than that: `newer than 2 weeks` in text."""
    ...
def based_on(image: _Name | Reference, /) -> Expression:
    """Whether its first layers are all the layers of that image: `based on debian:12` in text."""
    ...
def shares_layers_with(image: _Name | Reference, /) -> Expression:
    """Whether a layer is one of that image's too: `shares layers with redis:7` in text."""
    ...
def contains_file(glob: Value, /) -> Expression:
    """Whether a file of the image has a path like that: `contains file "*log4j*.jar"` in text."""
    ...
def contains_package(name: Value, /) -> Expression:
    """Whether the package of that name is installed in the image: `contains package openssl` in text."""
    ...
local_only: Expression
"""Whether its registry does not have its tag: `local only` in text."""
