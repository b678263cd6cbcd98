"""Model files on this disk, a directory a model; refuses to fetch.

``verified.json`` remembers which bytes were hashed, by size and modification time, so that
`ready` does not read 90 MB each time. The graph is derived and so has no hash in an entry: each
process compares it with what the files make, and again when a stat changes. Blocking: its
owner runs it in an executor.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from stackctl.contracts.model import ModelEntry, ModelImport, ModelState
from stackctl.errors import BadConfig, Conflict, Invalid, ModelCorrupt, NotFound
from stackctl_daemon.ids import random_hex
from stackctl_daemon.models.bert_graph import (
    GRAPH_FILE,
    PADDED_FILE,
    build_graph,
    graph_problem,
)
from stackctl_daemon.models.bert_int8_graph import GRAPH_FILE as INT8_FILE
from stackctl_daemon.models.bert_int8_graph import WEIGHTS_FILE as INT8_WEIGHTS
from stackctl_daemon.models.bert_int8_graph import build_int8_graph, int8_problem
from stackctl_daemon.models.catalogue import check_alias, check_name, read_entry, to_toml
from stackctl_daemon.models.download import disk_error, hash_file
from stackctl_daemon.models.durable_file import replace
from stackctl_daemon.models.exporting import export
from stackctl_daemon.models.fetch import sync_directory
from stackctl_daemon.models.importing import (
    ENTRY,
    make_entry,
    names_of,
    own_aliases,
    read_description,
)
from stackctl_daemon.models.intake import copy_in, opened
from stackctl_daemon.models.ports import ReadyModel
from stackctl_daemon.models.stopping import Check, go_on
from stackctl_daemon.models.sweeping import STAGING, TRASH
from stackctl_daemon.models.whisper_graph import (
    DECODER_FILE,
    ENCODER_FILE,
    WEIGHTS,
    build_whisper,
    whisper_problem,
)


class _Recipe(NamedTuple):
    """How graphs come about that are no file of the entry."""

    build: Callable[[Path], Path]
    """Writes them where they differ; gives the one that the adapter is told."""
    problem: Callable[[Path], str]
    graphs: tuple[str, ...]
    sources: tuple[str, ...]


_RECIPES = {
    "bert-safetensors": _Recipe(
        build_graph, graph_problem, (GRAPH_FILE, PADDED_FILE), ("config.json", "model.safetensors")
    ),
    "bert-safetensors-int8": _Recipe(
        build_int8_graph,
        int8_problem,
        (INT8_FILE, INT8_WEIGHTS),
        ("config.json", "model.safetensors"),
    ),
    "whisper-ctranslate2": _Recipe(
        build_whisper, whisper_problem, (ENCODER_FILE, DECODER_FILE), (WEIGHTS,)
    ),
}
_MARKER = "verified.json"


class _Seen(msgspec.Struct, frozen=True):
    size: int
    mtime_ns: int
    sha256: str


class Store:
    """Directories under ``root``."""

    def __init__(self, root: Path):
        self.root = root
        self._graphs: dict[str, list[tuple[int, int]]] = {}

    def directory(self, name: str) -> Path:
        """Give a model's directory, whether it exists or not."""
        return self.root / check_name(name)

    def entry_files(self) -> list[Path]:
        """Give the files of imported models' entries."""
        return sorted(self.root.glob(f"[a-z0-9]*/{ENTRY}"))

    def imported(self) -> tuple[dict[str, ModelEntry], dict[str, str]]:
        """Give the entries of imported models, and what is wrong with those that have none.

        One that cannot be read takes no other with it.
        """
        found: dict[str, ModelEntry] = {}
        problems: dict[str, str] = {}
        for file in self.entry_files():
            name = file.parent.name
            try:
                entry = read_entry(file)
                if entry.name != name:
                    raise BadConfig(f'{file}: name = "{entry.name}", expected "{name}"')
                found[name] = entry
            except BadConfig as err:
                problems[name] = err.message
        return found, problems

    def state(self, entry: ModelEntry) -> ModelState:
        """Tell what is here, by sizes and by what was hashed before; reads no weights."""
        directory, seen = self.directory(entry.name), self._seen(entry.name)
        state: ModelState = "present"
        for item in entry.files:
            try:
                stat = (directory / item.name).stat()
            except FileNotFoundError:
                return "absent"
            known = seen.get(item.name)
            same = known and (known.size, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns)
            if stat.st_size != item.size_bytes or (same and known and known.sha256 != item.sha256):
                state = "corrupt"
        return state

    def verify(
        self, entry: ModelEntry, *, trust_marker: bool = False, check: Check = go_on
    ) -> list[str]:
        """Give what is wrong with a model's files; none is an empty list.

        Args:
            entry: what the files must be.
            trust_marker: believe an earlier hash of a file of the same size and time.
            check: called for each block that is read.
        """
        directory, seen = self.directory(entry.name), self._seen(entry.name)
        problems: list[str] = []
        known: dict[str, _Seen] = {}
        for item in entry.files:
            try:
                stat = (directory / item.name).stat()
                old = seen.get(item.name)
                fresh = old and (old.size, old.mtime_ns) == (stat.st_size, stat.st_mtime_ns)
                digest = (
                    old.sha256
                    if old and fresh and trust_marker
                    else hash_file(directory / item.name, lambda _: check())
                )
            except FileNotFoundError:  # removed meanwhile, too
                problems.append(f"{item.name} is missing")
                continue
            known[item.name] = _Seen(stat.st_size, stat.st_mtime_ns, digest)
            if digest != item.sha256:
                problems.append(f"{item.name} has sha256 {digest}, expected {item.sha256}")
        if known != seen:
            with suppress(FileNotFoundError):
                replace(directory / _MARKER, msgspec.json.encode(known))
        recipe = _RECIPES.get(entry.architecture)
        if not problems and not trust_marker and recipe:
            problem = recipe.problem(directory)
            if problem:
                self._graphs.pop(entry.name, None)
                problems.append(problem)
        return problems

    def ready(self, entry: ModelEntry) -> ReadyModel:
        """Give a model's files after checking them, with the graph built.

        Raises:
            NotFound: files are not here.
            ModelCorrupt: a file's bytes are wrong.
        """
        self.check_sound(entry)
        directory = self.directory(entry.name)
        names = [file.name for file in entry.files]
        graph = None
        if entry.architecture == "onnx":
            graph = directory / next(name for name in names if name.endswith(".onnx"))
        elif recipe := _RECIPES.get(entry.architecture):
            graph = self._graph(entry.name, recipe)
        tokenizer = directory / "tokenizer.json" if "tokenizer.json" in names else None
        return ReadyModel(entry, directory, graph, tokenizer)

    def check_sound(self, entry: ModelEntry, check: Check = go_on) -> None:
        """Check a model's files, by what was hashed before where that is still true.

        Raises:
            NotFound: files are not here.
            ModelCorrupt: a file's bytes are wrong.
        """
        pull = f"stackctl models pull {entry.name}"
        if self.state(entry) == "absent":
            raise NotFound(f'model "{entry.name}" is not on this disk', hint=pull)
        problems = self.verify(entry, trust_marker=True, check=check)
        if problems:
            raise ModelCorrupt(f'model "{entry.name}": {"; ".join(problems)}', hint=pull)

    def set_aside(self, name: str) -> Path | None:
        """Take a model out of the store in one step: a half-removed one is never seen.

        Returns:
            A folder to delete; None where there was no such model.
        """
        if not self.directory(name).exists():
            return None
        trash = Path(tempfile.mkdtemp(prefix=TRASH, dir=self.root))
        try:
            self.directory(name).rename(trash / "model")
        except FileNotFoundError:
            trash.rmdir()
            return None
        self._graphs.pop(name, None)
        return trash

    def take(
        self,
        request: ModelImport,
        claimed: Mapping[str, str] | None = None,
        *,
        on_taken: Callable[[str], None] = lambda alias: None,
    ) -> ModelEntry:
        """Import a model: `stage` and `adopt` in one."""
        self.check_free(request.name)
        staging = self.staging()
        try:
            entry = self.stage(request, staging, claimed or {}, on_taken=on_taken)
            self.adopt(entry, staging, claimed or {})
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return entry

    def check_free(self, name: str) -> None:
        """Refuse a name that a model here has.

        Raises:
            Conflict: one has it.
        """
        if self.directory(name).exists():
            raise Conflict(
                f'model "{name}" is on this disk', hint=f"stackctl models remove {name}"
            )

    def staging(self) -> Path:
        """Give a folder to make for an import; its owner deletes it, or the next start does."""
        return self.root / f"{STAGING}{random_hex(8)}"

    def stage(
        self,
        request: ModelImport,
        staging: Path,
        claimed: Mapping[str, str],
        check: Check = go_on,
        *,
        on_taken: Callable[[str], None] = lambda alias: None,
    ) -> ModelEntry:
        """Copy a model from a directory or a tar, with the entry that `importing` makes of it.

        Args:
            request: its name, and where it is.
            staging: the folder to make; others do not see the model in it.
            claimed: models by the names and aliases that are theirs.
            check: called for each block that is read.
            on_taken: called with each alias of its entry that is another's, and so left out.

        Raises:
            Invalid: it is not a model of a kind that we know, or not of plain files.
            Conflict: a file changed.
            DiskFull: there is no space.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with opened(Path(request.path), self.root, check) as source:
            try:
                return self._stage(request, source, staging, claimed, check, on_taken=on_taken)
            except (Invalid, Conflict) as err:
                if source == Path(request.path):
                    raise
                # What it was unpacked into is gone: say where in the tar it is.
                told = err.message.replace(str(source), request.path)
                hint = f"tar -tvf {shlex.quote(request.path)}"
                raise type(err)(told, hint=hint) from err

    def adopt(self, entry: ModelEntry, staging: Path, claimed: Mapping[str, str]) -> None:
        """Let a staged model appear under its name, whole.

        Raises:
            Conflict: one of its name is here by now, or an alias is another's.
        """
        self.check_free(entry.name)
        _check_aliases(entry.name, entry.aliases, claimed, staging)
        staging.rename(self.directory(entry.name))
        sync_directory(self.root)

    def export(self, entry: ModelEntry, target: Path, check: Check = go_on) -> int:
        """Write a model to a folder or a tar; see `exporting.export`.

        Raises:
            NotFound: its files are not here.
            ModelCorrupt: their bytes are wrong.
            Invalid: the target lies in the store.
        """
        if target.parent.resolve().is_relative_to(self.root.resolve()):
            raise Invalid(
                f"{target} lies in {self.root}, where the models themselves are",
                hint=f"stackctl models export {entry.name} ~/{shlex.quote(target.name)}",
            )
        self.check_sound(entry, check)
        return export(entry, self.directory(entry.name), target, check)

    def _stage(
        self,
        request: ModelImport,
        source: Path,
        staging: Path,
        claimed: Mapping[str, str],
        check: Check,
        *,
        on_taken: Callable[[str], None],
    ) -> ModelEntry:
        description = read_description(source)
        if description:
            own = own_aliases(description.aliases, request.name, claimed)
            for alias in description.aliases:
                if alias not in own:
                    on_taken(alias)
            description = msgspec.structs.replace(description, aliases=own)
        names = names_of(source, request.name, description)
        try:
            staging.mkdir(mode=0o700)
            copy_in(source, names, staging, check)
            entry = make_entry(request, staging, names, description, check)
            if recipe := _RECIPES.get(entry.architecture):
                recipe.build(staging)
            known = {file.name: _hashed(staging / file.name, file.sha256) for file in entry.files}
            replace(staging / _MARKER, msgspec.json.encode(known))
            replace(staging / ENTRY, to_toml(entry).encode())
            staging.chmod(0o755)
        except OSError as err:
            raise disk_error(err, staging) or err from err
        return entry

    def _graph(self, name: str, recipe: _Recipe) -> Path:
        """Give a sound graph, looking at no more than stats when nothing changed."""
        directory = self.directory(name)
        graphs = [directory / graph for graph in recipe.graphs]
        files = [*graphs, *(directory / source for source in recipe.sources)]
        whole = all(graph.exists() for graph in graphs)
        if not whole or self._graphs.get(name) != _stats(files):
            recipe.build(directory)
            self._graphs[name] = _stats(files)
        return graphs[0]

    def _seen(self, name: str) -> dict[str, _Seen]:
        try:
            data = (self.directory(name) / _MARKER).read_bytes()
            return msgspec.json.decode(data, type=dict[str, _Seen])
        except (FileNotFoundError, msgspec.DecodeError):
            return {}


def _hashed(file: Path, sha256: str) -> _Seen:
    stat = file.stat()
    return _Seen(stat.st_size, stat.st_mtime_ns, sha256)


def _check_aliases(
    name: str, aliases: Iterable[str], claimed: Mapping[str, str], source: Path
) -> None:
    for alias in aliases:
        owner = claimed.get(check_alias(alias).lower(), name)
        if owner.partition(":")[0] != name.partition(":")[0]:
            raise Conflict(
                f'alias "{alias}" of {source / ENTRY} is one of model "{owner}"',
                hint=f"${{EDITOR:-vi}} {shlex.quote(str(source / ENTRY))}",
            )


def _stats(files: list[Path]) -> list[tuple[int, int]]:
    return [(stat.st_size, stat.st_mtime_ns) for stat in (file.stat() for file in files)]
