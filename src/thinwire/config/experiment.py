"""An experiment: the defaults of its arms, their shared settings, and each arm's changes.

``Experiment.arm(name)`` merges defaults and changes into one complete ``ArmConfig``, so that no other code has to know
where a value came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from thinwire.codecs.table import AnyCodecConfig
from thinwire.config.block_settings import BlockKind, BlocksConfig
from thinwire.config.idle import AFFECT_NO_RESULT
from thinwire.config.lora_settings import LoraSettings
from thinwire.config.report_settings import ReportConfig
from thinwire.config.settings import (
    AdapterConfig,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    PromptConfig,
    ReconstructionConfig,
    SupervisionConfig,
    TrainingConfig,
    VerdictConfig,
)
from thinwire.errors import UsageError, shown
from thinwire.results.interactions import Interaction
from thinwire.schema import Auto, Section, Seed, build, leaves, merge, nearest, nested
from thinwire.tasks.table import TASKS
from thinwire.tasks.task import TaskName

ARM_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$"
"""Pattern of arm names. They become folder names, so only characters that every file system accepts are allowed."""


RESERVED_NAMES = frozenset(
    {"controls", "codec", "unfinished", "experiment.yaml", "sweep.json", "sweep_summary.txt", "compare_results.py"}
    | {"analysis.json", "report.html", "report.md", "figures", "search", "search.json"}
)
"""Names of other files and folders in a sweep's folder; no arm may have one of them."""

_MOST_NAME_BYTES = 200
"""Of an arm's name with its seed: file systems allow 255 bytes, and temporary files add to it."""

_WINDOWS_DEVICES = frozenset(
    {"con", "prn", "aux", "nul"} | {f"{name}{n}" for name in ("com", "lpt") for n in range(1, 10)}
)
"""Names that no file can have on Windows, whatever follows a dot."""

NOT_SEARCHED = frozenset({"seed", "evaluation.samples", "evaluation.selection_samples"})
"""Settings whose values have no scores that could be compared: luck, and the questions themselves."""


class ArmConfig(Section):
    """All settings of one arm or control."""

    renamed: ClassVar[Mapping[str, str]] = {"reads": "input"}
    shared: ClassVar[frozenset[str]] = frozenset(
        {"name", "description", "model", "data", "baseline", "seeds", "group_size", "worker_processes", "search"}
        | {"verdict", "report", "arms", "controls", "interactions"}
    )

    input: Literal["adapter", "codec", "text", "blocks"] = "adapter"
    """Where the input embeddings come from: the adapter's reconstruction of the codes, the codec's own reconstruction,
    the text itself, or blocks of the context's tokens, which take one position each."""
    context: bool = True
    """Whether the prompt contains the paragraph; false leaves the question alone."""
    task: TaskName = "extractive_qa"
    """What is asked and how it is scored, the same for all arms: ``extractive_qa`` (F1), ``short_answer`` (exact
    match), ``generation`` (ROUGE-L), ``multiple_choice`` and ``classification`` (accuracy of the likeliest option) or
    ``perplexity`` (1 / perplexity of given texts)."""
    seed: Seed = 0
    """Seed of the data order, initial values and dropout; at the top level it also draws the questions."""
    prompt: PromptConfig = PromptConfig()
    codec: AnyCodecConfig = AnyCodecConfig()
    adapter: AdapterConfig = AdapterConfig()
    blocks: BlocksConfig = BlocksConfig()
    reconstruction: ReconstructionConfig = ReconstructionConfig()
    supervision: SupervisionConfig = SupervisionConfig()
    lora: LoraSettings = LoraSettings()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    def identity(self) -> dict[str, Any]:
        """Return the settings that a result depends on, as JSON."""
        return self.model_dump(mode="json", exclude={"training": set(AFFECT_NO_RESULT)})

    @property
    def is_supervised(self) -> bool:
        """Whether the answers contribute to the loss, so that training runs the language model."""
        return self.supervision.is_on

    @property
    def untrained_lora(self) -> str | None:
        """Why LoRA would stay as it begins, None where it would be trained, is not meant to be, or there is none."""
        if self.has_trainable and self.lora.is_trained and not self.is_supervised:
            return "lora.rank > 0, but all weights of supervision are 0: nothing would train LoRA"
        return None

    @property
    def uses_codec(self) -> bool:
        """Whether the input comes from a codec's codes."""
        return self.input in ("adapter", "codec")

    @property
    def block_kind(self) -> BlockKind | None:
        """The blocks of tokens that contexts are put into; None where every token has its own position."""
        return self.blocks.kind if self.input == "blocks" else None

    @property
    def copies_layers(self) -> bool:
        """Whether the encoder of blocks begins with a copy of the model's first layers."""
        return self.input == "blocks" and self.blocks.encoder == "first_layers"

    @property
    def has_trained_input(self) -> bool:
        """Whether what makes the input embeddings has parameters that can be trained."""
        return self.input == "adapter" or (self.input == "blocks" and self.blocks.is_trained)

    @property
    def has_trainable(self) -> bool:
        """Whether any parameter of this arm is trained on questions."""
        return self.training.epochs > 0 and (self.has_trained_input or self.lora.is_trained)

    @property
    def learns(self) -> bool:
        """Whether the arm is trained on questions, or on texts alone: its result depends on the seed."""
        return self.has_trainable or self.reconstructs_text

    @property
    def learns_lora(self) -> bool:
        """Whether the LoRA that the arm is scored with has learned anything here: of questions, or of texts alone."""
        kept = self.blocks.reconstruction.lora == "kept"
        return self.lora.is_trained and (self.has_trainable or (self.reconstructs_text and kept))

    @property
    def has_block_codes(self) -> bool:
        """Whether blocks are codes, of which the encoder makes embeddings."""
        return self.input == "blocks" and self.blocks.encoder == "pca"

    @property
    def reconstructs_text(self) -> bool:
        """Whether the encoder of blocks, or LoRA, is trained to write texts: before it is trained on answers, or
        instead if there are no epochs."""
        own = self.blocks.reconstruction
        trains = self.has_trained_input or (self.lora.is_trained and own.lora == "kept")
        return self.input == "blocks" and trains and own.passages != 0

    @model_validator(mode="after")
    def _blocks_learn_from_answers(self) -> ArmConfig:
        if self.input != "blocks":
            return self
        if not self.context:
            raise ValueError(
                "input is blocks and context is false, but blocks are made of contexts; set context to true, or input "
                "to text"
            )
        if self.has_trainable and not self.is_supervised:
            raise ValueError(
                "input is blocks, but all weights of supervision are 0: nothing would train the encoder; "
                "set supervision.ce_weight above 0"
            )
        return self


class Experiment(ArmConfig):
    """A sweep: the defaults of its arms, their shared settings, and the arms."""

    named_changes: ClassVar[Mapping[str, type[Section]]] = {
        "arms": ArmConfig,
        "controls": ArmConfig,
        "interactions": Interaction,
    }
    renamed: ClassVar[Mapping[str, str]] = {
        **ArmConfig.renamed,
        "fused_arms": "group_size",
        "processes": "worker_processes",
    }

    name: str = Field(pattern=ARM_NAME)
    """Name of the results, and of their folder below ``runs`` unless another is given."""
    description: str = ""
    """The question that the sweep answers; reports begin with it."""
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    baseline: str = "baseline"
    """The arm that all others are compared with."""
    seeds: Annotated[tuple[Seed, ...], Field(max_length=1_000)] = ()
    """Train every arm, and every control that trains, once with each of these seeds; by default once, with ``seed``.
    Controls that do not train run once."""
    group_size: Annotated[int, Field(gt=0, le=10_000)] | Auto = "auto"
    """Maximum number of arms in a multi-LoRA group: they train together over one copy of the model, and must see the
    same questions in the same order. ``auto`` on GPUs with a small model is 16, or fewer, so that each has a group;
    elsewhere 1. Results are the same except for rounding and dropout."""
    worker_processes: Annotated[int, Field(gt=0, le=10_000)] | Auto = "auto"
    """Maximum number of groups that train side by side, each in a process with a part of the cores or with a GPU.
    ``auto`` on a CPU is as many as have a core, enough memory and enough to train; elsewhere the number of GPUs, unless
    ``model.device`` names one. Results are the same except for rounding."""
    search: dict[str, tuple[Any, ...]] = Field(default={})
    """Candidate values of settings, by path: ``{training.lora_lr: [3.0e-4, 1.0e-3, 3.0e-3]}``. Before the arms run,
    every arm and every control that trains is trained with the first seed and every combination of the values of the
    settings that it uses and does not set itself. The combination with the best F1 on the selection questions is used
    for all its seeds."""
    verdict: VerdictConfig = VerdictConfig()
    report: ReportConfig = ReportConfig()
    arms: dict[Annotated[str, Field(pattern=ARM_NAME)], dict[str, Any]] = Field(min_length=1)
    """The changes of each arm to the defaults, by the arm's name."""
    controls: dict[Annotated[str, Field(pattern=ARM_NAME)], dict[str, Any]] = Field(default={})
    """Reference runs that are not compared as arms (text, codec only, ...), in the same form."""
    interactions: dict[Annotated[str, Field(pattern=ARM_NAME)], Interaction] = Field(default={})
    """Differences of two gains, by name: the gain of ``arm`` over ``baseline``, minus the gain of ``reference_arm``
    over ``reference_baseline``. Each of the four keys names an arm or control."""

    @field_validator("arms", "controls", mode="before")
    @classmethod
    def _empty_means_unchanged(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {name: {} if changes is None else changes for name, changes in value.items()}

    @field_validator("search", mode="before")
    @classmethod
    def _paths_of_nested_settings(cls, value: Any) -> Any:
        # ``--set search.training.lora_lr=[...]`` is nested, an experiment file has paths.
        if not isinstance(value, Mapping):
            return value
        grids: dict[str, tuple[Any, ...]] = {}
        for path, values in leaves(value):
            if not isinstance(values, list | tuple):
                raise ValueError(f"{path} takes a list of at least two values, such as [A, B], got {shown(values)}")
            grids[path] = tuple(values)
        return grids

    @field_validator("search", mode="after")
    @classmethod
    def _candidate_values_are_valid(cls, value: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        return {path: _candidate_values(path, values) for path, values in value.items()}

    @model_validator(mode="after")
    def _thresholds_of_the_task(self) -> Experiment:
        """Take the task's thresholds where the verdict sets none of its own."""
        thresholds = TASKS[self.task].thresholds._asdict()
        if self.verdict.model_fields_set & thresholds.keys() or self.verdict.thresholds() == thresholds:
            return self
        return self.model_copy(update={"verdict": self.verdict.model_copy(update=thresholds)})

    @model_validator(mode="after")
    def _all_arms_resolve(self) -> Experiment:
        if shared := sorted(set(self.arms) & set(self.controls)):
            raise ValueError(f"{', '.join(shared)}: the name of an arm and of a control; rename one")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: {list(self.seeds)} names a seed twice")
        if taken := sorted(name for name in self.arms if name.casefold() in RESERVED_NAMES):
            raise ValueError(f"arms cannot be called {', '.join(taken)}: the sweep's folder has other uses for it")
        self._refuse_names_that_are_no_folders()
        if self.baseline not in self.arms:
            raise ValueError(f"baseline: {self.baseline!r} is no arm{nearest(self.baseline, self.arms)}")
        complaints: list[str] = []
        for name in (*self.arms, *self.controls):
            try:
                if (task := self.arm(name).task) != self.task:
                    complaints.append(f"{name}: task={task}, but scores of two tasks cannot be compared; set it once")
            except UsageError as error:
                complaints += [line for line in error.args if line not in complaints]
        if complaints:
            raise UsageError(*complaints)
        self._refuse_interactions_of_unknown_arms()
        return self

    def _refuse_names_that_are_no_folders(self) -> None:
        """Refuse names that some file system cannot have, or that would share a folder with another."""
        of_runs = {"name": self.name}
        for name in (*self.arms, *self.controls):
            of_runs |= {f"the name {run}": run for run in (name, *(self.run_name(name, seed) for seed in self.seeds))}
        for what, name in of_runs.items():
            if len(name) > _MOST_NAME_BYTES:
                raise ValueError(
                    f"{what}: {shown(name, 40)} has {len(name)} bytes, with its seed; shorten it to {_MOST_NAME_BYTES}"
                )
            if name.partition(".")[0].casefold() in _WINDOWS_DEVICES or name.endswith("."):
                raise ValueError(f"{what} cannot be a folder on Windows; choose another")
        for group in (self.arms, self.controls):
            taken: dict[str, str] = {}
            for name in group:
                for run in dict.fromkeys([name, *(self.run_name(name, seed) for seed in self.seeds)]):
                    if (before := taken.setdefault(run.casefold(), name)) != name:
                        raise ValueError(
                            f"{before} and {name} would both use the folder {run} (file systems may not tell upper "
                            "from lower case; further seeds are added to names); rename one"
                        )

    def words(self, model: str) -> tuple[str, ReportConfig]:
        """Return the description and what reports say, for the model of this name.

        They are the experiment's own, unless ``report.about`` says that they are about another model or other data.
        """
        about = self.report.about
        if about is None or about.includes(model, self.data):
            return self.description, self.report
        sources = " and ".join(dict.fromkeys([self.data.train, self.data.test or self.data.train]))
        return f"The experiment's configurations with the model {model} and questions of {sources}", ReportConfig()

    def run_name(self, name: str, seed: int) -> str:
        """Return the name of the training of an arm or control with ``seed``, which is that of its folder: the first of
        several seeds has the name alone."""
        return name if not self.seeds or seed == self.seeds[0] else f"{name}-seed{seed}"

    def _refuse_interactions_of_unknown_arms(self) -> None:
        known = [*self.arms, *self.controls]
        for name, interaction in self.interactions.items():
            for role, member in interaction.model_dump().items():
                if member not in known:
                    raise ValueError(
                        f"interactions.{name}.{role}: {member!r} is no arm or control{nearest(member, known)}; "
                        "name one that there is, or leave the interactions out (interactions={})"
                    )

    def arm(self, name: str) -> ArmConfig:
        """Return the complete configuration of an arm or control: the defaults with its changes merged in.

        Raises:
            UsageError: there is no arm or control of that name.
        """
        for kind, group in (("arms", self.arms), ("controls", self.controls)):
            if name in group:
                defaults = self.model_dump(include=set(ArmConfig.model_fields))
                return build(ArmConfig, merge(defaults, group[name]), where=f"{kind}.{name}")
        known = [*self.arms, *self.controls]
        raise UsageError(f"no arm or control called {name!r}{nearest(name, known)}; there are: {', '.join(known)}")


def _candidate_values(path: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the values of a setting as an arm would have them."""
    if path in NOT_SEARCHED:
        raise ValueError(f"{path} cannot be searched: its values have no scores that could be compared")
    if not all(value is None or isinstance(value, str | int | float) for value in values):
        raise ValueError(f"{path} takes a list of single values, got {list(values)}")
    found = []
    for value in values:
        arm: Any = build(ArmConfig, nested(path, value), where="search")
        for name in path.split("."):
            arm = getattr(arm, name)
        found.append(arm)
    if len(set(found)) < max(2, len(found)):
        raise ValueError(f"{path} takes at least two values, each once, got {list(values)}")
    return tuple(found)
