"""From an artifact to a running model: which engines could run it, which is fastest, which settings are safe."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from core.cache.identity import ModelIdentity
from core.chat.schemas import read_response_schema
from core.chat.sources import check_template
from core.contract.abilities import KeepsStates, Places, Reproduces
from core.contract.artifact import NO_FILES, SCRIPT, URL, Artifact, FormatName
from core.contract.engine import Available, Engine, LoraHost, Native
from core.contract.models import Model, PredictsAhead
from core.contract.options import LoadOptions
from core.contract.placement import DeviceTaken
from core.engines.registry import Engines
from core.errors import (
    ArtifactError,
    BenchtopError,
    EngineFailed,
    EngineUnavailable,
    LoadFailed,
    MemoryShort,
    UsageError,
)
from core.models.fit.mtp import choose_mtp
from core.models.fit.plan import Correction, leave_uncorrected
from core.models.formats.detect import find_newest_write, fingerprint_model
from core.models.formats.header import Header
from core.models.formats.parts import list_parts
from core.models.formats.read import read_header
from core.models.library.variants import list_formats, provide_variant
from core.models.resolve import resolve_own
from core.serving.draft_model import Find, Way, add_draft, choose_way, refuse_unlike
from core.serving.loaded import LoadedModel
from core.serving.pool.planning import (
    PlannedLoad,
    describe_correction,
    has_other_memory,
    plan_options,
    verify_plan,
)
from core.settings.profile import Profile
from core.settings.schema import Settings
from core.telemetry.log import get_logger
from core.trial.child import Line
from core.trial.choose_engine import Candidate, Selector
from core.trial.placing import PlacementTrials
from core.trial.probe import ROUNDS, Prober, list_thread_counts
from core.trial.steps import TrialSteps
from core.trial.verdict import apply_fitting

TRIAL_SECONDS = 5.0
"""Seconds of measuring before the only engine of a model first runs it."""
log = get_logger(__name__)


class ModelLoader:
    """Loads models for one workbench. Everything here blocks; call it on a model's own thread."""

    def __init__(
        self,
        settings: Settings,
        engines: Engines,
        prober: Prober,
        options: LoadOptions,
        cache: Path,
        announce: Callable[[str], None],
        find: Find = resolve_own,
        corrections: Callable[[str, Header], Correction] = lambda *_: leave_uncorrected,
        learn: Callable[[str, Artifact, LoadOptions, Sequence[DeviceTaken]], None] = lambda *_: None,
    ) -> None:
        """`find` gives the files of the draft model that a model's settings name; `corrections`, what earlier loads
        with an engine of this name have taught of estimates for a model; `learn` is told what a placement took."""
        self._settings = settings
        self._engines = engines
        self._prober = prober
        self._options = options
        self._cache = cache
        self._announce = announce
        self._find = find
        self._corrections = corrections
        self._learn = learn
        self._skip = threading.Event()
        """Somebody waits for a model and wants no more measured."""
        self._placements = PlacementTrials(cache / "placements", settings.probe.timeout)
        self._told: set[Path] = set()
        self._measured: set[Path] = set()
        """What was measured in this process: `fresh` is for the first load of a model, not for each."""

    def load(
        self,
        artifact: Artifact,
        stop: threading.Event,
        tell: Callable[[str], None],
        profile: Profile = Profile(),
        memory: int | None = None,
        elsewhere: Mapping[str, int] = {},
    ) -> LoadedModel:
        """Choose the engine, try it in a child process where that is due, load; the next one when it will not.

        `memory` is what the model may take of main memory in bytes, where that is less than what is free; `elsewhere`,
        of accelerators by their ids.

        Raises what the only engine raised, or LoadFailed with the reasons of all; EngineUnavailable or ArtifactError
        when there is none; Cancelled on `stop`.
        """
        self._skip.clear()
        if artifact.format not in NO_FILES and not artifact.path.exists():
            # It was there when its name was looked up.
            gone = f"{artifact.path.name}, which the model {artifact.name} is made of, is no longer there"
            raise ArtifactError(artifact.name, f"{gone}; put it back, and ask again.")
        candidates = self.candidates(artifact, profile)
        if not candidates:
            # Nothing runs it: choosing says why, in the sentence that fits.
            chosen = self._engines.choose(artifact, self._forced(profile))
            said = self._options.overlaid_with(profile)
            if said.loras and not isinstance(chosen, LoraHost):
                raise LoadFailed(artifact.name, f"The {chosen.name} engine takes no LoRA adapters; llamacpp does.")
            if said.reproducible and not isinstance(chosen, Reproduces):
                raise LoadFailed(
                    artifact.name,
                    f"The {chosen.name} engine cannot promise the same tokens alone and in company; llamacpp can, or "
                    "leave out --reproducible.",
                )
            raise ArtifactError(artifact.name, f"No engine here runs {artifact.name}.")
        guessing = self.guessing(artifact, profile)
        refuse_unlike(artifact, guessing)
        failures: list[BenchtopError] = []
        fresh = self._settings.bench.fresh and artifact.path not in self._measured
        self._measured.add(artifact.path)
        draft = guessing if isinstance(guessing, Artifact) else None
        options = replace(
            self._choose_options(artifact, profile), memory=memory, device_memory=tuple(elsewhere.items())
        )
        _check_files(options, artifact.name)
        placed = self._plan(candidates, options, draft).options
        for candidate in self._in_order(candidates, placed, stop, tell, fresh=fresh):
            try:
                loaded = self._load(candidate, options, draft, stop, tell, fresh=fresh, tried=len(candidates) > 1)
            except (LoadFailed, EngineFailed, EngineUnavailable) as error:
                log.warning("engine could not load", model=artifact.name, engine=candidate.engine.name, why=str(error))
                failures.append(error)
            else:
                left = leave_to_draft(options, loaded)
                load_draft = partial(self._load_draft, candidate.engine.name, left, stop, tell)
                drafted = add_draft(loaded, artifact.name, guessing, load_draft)
                return replace(drafted, notes=(*dict.fromkeys(map(str, failures)), *drafted.notes))
        if len(failures) == 1:
            raise failures[0]
        # What no engine can do anything about is told once.
        raise LoadFailed(artifact.name, " ".join(dict.fromkeys(map(str, failures))))

    def skip_measuring(self) -> None:
        """Let what was measured so far decide on the model that is being loaded; one round at least ends first."""
        self._skip.set()

    def _choose_options(self, artifact: Artifact, profile: Profile) -> LoadOptions:
        """Those asked for, with the model's own heads where these are to guess ahead."""
        options = self._options.overlaid_with(profile)
        try:
            header = read_header(artifact)
        except ArtifactError:
            return options
        return replace(options, mtp=choose_mtp(header, options, profile.draft or self._settings.model.draft))

    def guessing(self, artifact: Artifact, profile: Profile) -> Way:
        """How the model's tokens are to be guessed. Raises LoadFailed when the model that is to draft is not here."""
        return choose_way(artifact, profile.draft or self._settings.model.draft, self._find)

    def candidates(self, artifact: Artifact, profile: Profile = Profile()) -> list[Candidate]:
        """Each engine that runs here, by priority, with the model in the first format that it takes. Engines for which
        there is no room to convert the model are passed over. Raises LoadFailed where that is the only engine."""
        forced = self._forced(profile)
        engines = [self._engines.get(forced)] if forced is not None else list(self._engines)
        if self._options.overlaid_with(profile).loras:
            engines = [engine for engine in engines if isinstance(engine, LoraHost)]
        if self._options.overlaid_with(profile).reproducible:
            engines = [engine for engine in engines if isinstance(engine, Reproduces)]
        found: list[Candidate] = []
        unmade: dict[str, str] = {}
        for engine in engines:
            if isinstance(engine.availability(), Available) and (wanted := _accepted(engine, artifact)) is not None:
                location = self._engines.locate(engine.name)
                try:
                    made = provide_variant(artifact, wanted, self._cache)
                except OSError as error:
                    # Another engine takes the model as it is, and needs no room for a copy.
                    unmade[engine.name] = error.strerror or str(error)
                    continue
                found.append(Candidate(engine, location, made))
        if unmade and not found:
            name, why = next(iter(unmade.items()))
            raise LoadFailed(
                artifact.name,
                f"{artifact.name} cannot be made into what the {name} engine takes, in {self._cache}: {why}; free some "
                "room there, or leave out --engine.",
            )
        self._tell_unmade(artifact, unmade)
        return found

    def _tell_unmade(self, artifact: Artifact, unmade: dict[str, str]) -> None:
        """Once, not with every load."""
        if unmade and artifact.path not in self._told:
            self._told.add(artifact.path)
            engines, why = ", ".join(unmade), next(iter(unmade.values()))
            log.warning(
                "no copies for other engines", model=artifact.name, engines=engines, cache=str(self._cache), why=why
            )

    def settled(
        self, artifact: Artifact, stop: threading.Event, profile: Profile = Profile()
    ) -> list[tuple[Candidate, LoadOptions]]:
        """Every candidate with the settings that a trial run found best for it; one that no setting keeps alive comes
        with those asked for, and will fail by itself. Raises as `load` does when there is none, Cancelled on `stop`.
        """
        candidates = self.candidates(artifact, profile)
        if not candidates:
            self._engines.choose(artifact, self._forced(profile))
        if artifact.format == URL:
            raise UsageError(f"{artifact.name} runs on another machine; only what runs here can be measured.")
        options = self._plan(candidates, self._choose_options(artifact, profile)).options
        return [(candidate, self._tried(candidate, options, stop)) for candidate in candidates]

    def _plan(
        self, candidates: Sequence[Candidate], options: LoadOptions, draft: Artifact | None = None
    ) -> PlannedLoad:
        """For the first engine that can place a model. Raises LoadFailed for a wish that cannot be met here."""
        first = next((each for each in candidates if isinstance(each.engine, Places)), None)
        return PlannedLoad(options) if first is None else self._plan_for(first, options, draft)

    def _plan_for(self, candidate: Candidate, options: LoadOptions, draft: Artifact | None) -> PlannedLoad:
        correct = partial(self._corrections, candidate.engine.name)
        return plan_options(candidate.engine, candidate.artifact, options, draft, correct)

    def _load_draft(
        self,
        engine: str,
        beside: LoadOptions,
        stop: threading.Event,
        tell: Callable[[str], None],
        artifact: Artifact,
        options: LoadOptions,
    ) -> LoadedModel:
        """With the same engine where that takes it; `beside` the model that has these options, whose devices it may
        use, with what that has left of its limits. Raises what loading raises."""
        idle = 0 if beside.gpu_layers == 0 else None
        options = replace(options, gpu_layers=idle, rpc=beside.rpc, device_memory=beside.device_memory)
        candidates = self.candidates(artifact, Profile(engine=engine)) or self.candidates(artifact)
        if not candidates:
            raise ArtifactError(artifact.name, f"No engine here runs {artifact.name}, which is to draft.")
        return self._load(candidates[0], options, None, stop, lambda words: tell(f"draft: {words}"), fresh=False)

    def _forced(self, profile: Profile) -> str | None:
        return profile.engine or self._settings.model.engine

    def _tried(self, candidate: Candidate, options: LoadOptions, stop: threading.Event) -> LoadOptions:
        bench = self._settings.bench
        arguments = (candidate.engine, candidate.location, candidate.artifact, options, stop)
        try:
            verdict = self._prober.probe(*arguments, budget=bench.budget, fresh=bench.fresh)
        except EngineFailed:
            return options
        return apply_fitting(candidate.engine, candidate.artifact, verdict, options)

    def _in_order(
        self,
        candidates: Sequence[Candidate],
        options: LoadOptions,
        stop: threading.Event,
        tell: Callable[[str], None],
        *,
        fresh: bool,
    ) -> list[Candidate]:
        """The fastest first, where there is a choice and measuring is wanted; else by priority."""
        bench = self._settings.bench
        if len(candidates) < 2 or not bench.enabled or not self._settings.probe.enabled:
            return list(candidates)
        tell(f"measuring {', '.join(candidate.engine.name for candidate in candidates)}")
        selector = Selector(self._prober, bench.budget, fresh=fresh)
        steps = {id(each): _follow_steps(each.engine.name, options, tell) for each in candidates}
        selection = selector.select(
            candidates, options, stop, lambda candidate, line: steps[id(candidate)](line), self._skip
        )
        for line in selection.lines:
            self._announce(line)
        if selection.chosen is None:
            return list(candidates)
        first = candidates[selection.chosen]
        return [first, *(candidate for candidate in candidates if candidate is not first)]

    def _load(
        self,
        candidate: Candidate,
        options: LoadOptions,
        draft: Artifact | None,
        stop: threading.Event,
        tell: Callable[[str], None],
        *,
        fresh: bool,
        tried: bool = False,
    ) -> LoadedModel:
        """Planned, verified and loaded; planned once more where memory was short in the end, and without devices where
        the trial run does not survive them. `draft`: a model that will be loaded beside it; `tried`: what is to be
        measured afresh was, when the engine was chosen."""
        planned = self._plan_for(candidate, options, draft)
        try:
            return self._load_planned(candidate, planned, stop, tell, fresh=fresh, tried=tried)
        except MemoryShort as error:
            if not planned.uses_devices:
                raise
            log.warning("planned anew", model=candidate.artifact.name, engine=candidate.engine.name, why=str(error))
            tell("planning anew: memory was short")
            planned = self._plan_for(candidate, options, draft)
            loaded = self._load_planned(candidate, planned, stop, tell, fresh=False)
            note = (
                f"Memory was short at first, as when other programs take some, so its place was planned anew: {error}"
            )
            return replace(loaded, notes=(note, *loaded.notes))
        except EngineFailed as error:
            if not planned.chose_devices:
                raise
            log.warning("devices are left out", model=candidate.artifact.name, why=str(error))
            tell("leaving the devices out: a trial run ended there")
            planned = self._plan_for(candidate, replace(options, gpu_layers=0), draft)
            loaded = self._load_planned(candidate, planned, stop, tell, fresh=False)
            note = f"All of it lies in main memory, for on the devices it failed: {error}"
            return replace(loaded, notes=(note, *loaded.notes))

    def _load_planned(
        self,
        candidate: Candidate,
        planned: PlannedLoad,
        stop: threading.Event,
        tell: Callable[[str], None],
        *,
        fresh: bool,
        tried: bool = False,
    ) -> LoadedModel:
        engine, artifact, options = candidate.engine, candidate.artifact, planned.options
        notes = planned.notes
        if self._settings.probe.enabled and isinstance(engine, Native):
            options, corrected = self._verify(candidate, planned, options, stop, tell, fresh=fresh)
            tell(f"trying {engine.name} in a child process")
            bench = self._settings.bench
            # Without measuring, one round still tells whether the engine survives the model.
            budget = min(bench.budget, TRIAL_SECONDS) if bench.enabled else 0.0
            arguments = (engine, candidate.location, artifact, options, stop)
            follow = _follow_steps(engine.name, options, tell)
            anew = fresh and not tried
            verdict = self._prober.probe(*arguments, budget=budget, fresh=anew, tell=follow, skip=self._skip)
            tuned = apply_fitting(engine, artifact, verdict, options)
            if has_other_memory(tuned, options):
                tuned, corrected = self._verify(candidate, planned, tuned, stop, tell, fresh=False)
            options, notes = tuned, (*(corrected or notes), *verdict.notes)

        def progress(share: float) -> bool:
            tell(f"loading with {engine.name}, {share:.0%}")
            return not stop.is_set()

        progress(0.0)
        place = None if artifact.format in NO_FILES else artifact.path
        schema, about = read_response_schema(options.response_schema, artifact.name, place)
        model = engine.load(artifact, options, progress)
        identity = identify_model(engine, artifact, options, model)
        return LoadedModel(model, engine.name, (*notes, *about), identity=identity, schema=schema)

    def _verify(
        self,
        candidate: Candidate,
        planned: PlannedLoad,
        options: LoadOptions,
        stop: threading.Event,
        tell: Callable[[str], None],
        *,
        fresh: bool,
    ) -> tuple[LoadOptions, tuple[str, ...]]:
        """The options with a placement that was seen to load, and what should be known where that is not the plan's."""
        if not planned.uses_devices:
            return options, ()
        tell("seeing in a child process whether it has room where it is to lie")
        verdict = verify_plan(self._placements, candidate, planned, options, stop, fresh=fresh)
        placed = replace(options, placement=verdict.placement, kv_room=verdict.kv_room)
        self._learn(candidate.engine.name, candidate.artifact, placed, verdict.taken)
        return placed, describe_correction(planned, verdict)


def _follow_steps(engine: str, options: LoadOptions, tell: Callable[[str], None]) -> Callable[[Line], None]:
    """Tells what a trial run of an engine is at."""
    steps = TrialSteps(engine, ROUNDS * len(list_thread_counts(options)))

    def follow(line: Line) -> None:
        if words := steps.describe(line):
            tell(words)

    return follow


def _check_files(options: LoadOptions, model: str) -> None:
    """Before anything is measured. Raises LoadFailed for files of the user's that cannot be used, whatever the
    engine."""
    check_template(options.chat_template, model)
    if options.response_schema:
        read_response_schema(options.response_schema, model, None)


def _accepted(engine: Engine, artifact: Artifact) -> FormatName | None:
    return next((wanted for wanted in list_formats(artifact) if wanted in engine.formats), None)


def leave_to_draft(options: LoadOptions, loaded: LoadedModel) -> LoadOptions:
    """The options of a model with what it has left of its limits on devices to the one that drafts for it."""
    held = loaded.elsewhere
    left = tuple((device, max(0, size - held.get(device, 0))) for device, size in options.device_memory)
    return replace(options, device_memory=left)


def identify_model(engine: Engine, artifact: Artifact, options: LoadOptions, model: Model) -> ModelIdentity | None:
    """Whose states are the model's own; None where its engine's cannot be kept, or its files are there no more. Reads
    the ends of the model's files."""
    if not isinstance(engine, KeepsStates):
        return None
    try:
        weights = artifact.name if artifact.format == SCRIPT else _tell_files(list_parts(artifact.path))
        adapters = [f"{_tell_files((Path(lora.path),))} {lora.scale}" for lora in options.adapters]
    except OSError as error:
        log.warning("prefixes are kept in the KV cache alone", model=artifact.name, why=error.strerror or str(error))
        return None
    availability = engine.availability()
    version = availability.version if isinstance(availability, Available) else "unknown"
    flash = {None: "as usual", True: "on", False: "off"}[options.flash_attention]
    apart = ", reproducible" if options.reproducible else ""
    heads = ", with heads" if isinstance(model, PredictsAhead) else ""
    return ModelIdentity(
        weights=weights,
        engine=engine.name,
        version=f"{version}, states {engine.state_format}",
        settings=f"context {model.spec.context}, KV {options.cache_type.value}, flash attention {flash}, "
        f"windows {'cut' if options.cuts_windows else 'whole'}{apart}{heads}",
        adapters=", ".join(adapters),
    )


def _tell_files(paths: Sequence[Path]) -> str:
    """By their ends, and by when they were written last: some may differ in their middle alone."""
    return ", ".join(f"{fingerprint_model(path)} {find_newest_write(path)}" for path in paths)
