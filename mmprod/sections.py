"""What can be configured: one frozen model a section of ``mmprod.toml``; unknown keys are refused."""

import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from mmprod.datasets.pairs.options import Selection
from mmprod.datasets.threads import share
from mmprod.encoders.training.options import Options
from mmprod.storage.errors import InputError

if TYPE_CHECKING:
    from mmprod.datasets.tables.table import TableSpec

Share = Annotated[float, Field(ge=0, le=1)]


def _known_encoding(name: str) -> str:
    try:
        "x".encode(name)
    except LookupError:
        raise ValueError(f"there is no text encoding {name!r}") from None
    return name


TextEncoding = Annotated[str, AfterValidator(_known_encoding)]


def _one_form(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).split())


Name = Annotated[str, AfterValidator(_one_form)]
"""Of a person, in the form that label files are read in."""


class Section(BaseModel):
    """Frozen, strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Live(Section):
    """Which words of a column say that a product is there; any other says that it is gone."""

    column: str
    values: tuple[str, ...] = Field(min_length=1)
    gone: tuple[str, ...] = ()  # words that say it is gone; then a row with any other is refused


class Table(Section):
    """How to read the product table: which of its columns is what."""

    columns: dict[str, str] = {}  # our name -> the table's column; equal names need no entry
    category: tuple[str, ...] = ()  # the table's category columns, widest first
    attributes: tuple[str, ...] = ()  # the table's columns kept as attributes
    snapshot: Literal["full", "partial"] = "full"  # only a full table may remove what it does not list
    pictures: tuple[str, ...] = ()  # the table's columns with further pictures
    separators: dict[str, str] = {}  # our name -> what stands between several values in a cell
    live: Live | None = None  # which products are there, where no column says `deleted`
    rows: Literal["one", "first_non_empty"] | None = None  # what several rows of one id mean
    encoding: str | None = None  # CSV; found out when not given
    delimiter: str | None = None  # CSV; found out when not given
    quote: str | None = Field(default=None, max_length=1)  # CSV; "": quotes are letters, as with tabs
    skip_rows: int | tuple[int, ...] = 0  # CSV: lines that are no rows, how many or which (from 1)


class Store(Section):
    """The LMDB product store and what a day may do to it."""

    shards: int = Field(default=1, ge=1, le=4096)  # fixed when the store is made
    batch_rows: int = Field(default=10_000, ge=1)  # rows a transaction
    max_removed_share: Share = 0.3  # a day that would remove more needs --approve-removals
    days_ahead: int = Field(default=2, ge=0)  # a day further ahead of the clock needs --approve-day


class Images(Section):
    """Where pictures come from and what is too much."""

    root: Path = Path()  # image paths must lie below it
    max_pixels: int = Field(default=40_000_000, ge=1)
    allow_private_hosts: bool = False  # pictures from addresses that are not public
    user_agent: str | None = Field(default=None, pattern=r"^[!-~]([ -~]*[!-~])?$")  # mmprod/VERSION
    fetch_seconds: float = Field(default=14_400, gt=0)  # that fetching may take in a day's run


class EncoderSection(Section):
    """The encoder: ``lake:NAME`` (trained here), ``local-dir:…``, ``hf-hub:…`` or an open_clip name."""

    model: str = "lake:tiny"
    pretrained: str | None = None  # open_clip's tag, for its own names
    device: str = "cpu"
    batch: int = Field(default=256, ge=1)  # products encoded at once
    commit_rows: int = Field(default=10_000, ge=1)  # products per commit of the embedding table
    part_rows: int = Field(default=100_000, ge=1)  # changes a part of a shard that is encoded on its own
    categories: tuple[str, ...] = ()  # encode only products of these categories and below; all when empty


class Ray(Section):
    """The Ray cluster that encodes and trains where `engine` is "ray"; every node has to see the lake."""

    address: str = "http://127.0.0.1:8265"  # of the cluster's dashboard, which takes jobs in
    command: str = "mmprod"  # as the nodes find it
    cpus: float = Field(default=1.0, ge=0)  # a job
    gpus: float = Field(default=0.0, ge=0)  # a job
    resources: dict[str, float] = {}  # of the cluster's own naming, a job
    attempts: int = Field(default=3, ge=1)  # at a job whose node was lost


class Profile(Section):
    """Weights of a fused index; they sum to 1."""

    image: Share
    text: Share
    form: Literal["exact", "half_width"] = "exact"  # half_width: half the memory, mixed cosines

    @model_validator(mode="after")
    def _sum(self) -> "Profile":
        if not abs(self.image + self.text - 1) < 1e-6:
            raise ValueError(f"image {self.image} + text {self.text} must sum to 1")
        return self

    @property
    def weights(self) -> tuple[float, float]:
        return self.image, self.text


class Index(Section):
    """The Faiss index and the gate a new one has to pass before it goes live."""

    factory: str = "auto"  # flat while small, then IVF; or any Faiss factory string
    nprobe: int | None = Field(default=None, ge=1, le=65_536)  # lists a search looks through; a sixteenth
    min_recall: Share = 0.95  # recall@10 against exact search
    max_similarity: Share = 0.98  # mean cosine of random pairs; above it the vectors have collapsed
    max_shrink: Share = 0.3  # against the generation in use


class Recall(Section):
    """The recall table."""

    k: int = Field(default=10, ge=1, le=1000)
    profiles: tuple[str, ...] = ("same_item", "similar_item")


class Groups(Section):
    """Which products count as the same item."""

    profile: str = "same_item"  # whose recall table is read
    score: Share = 0.9  # two products that find each other with at least this score are the same item


class Caption(Section):
    """How ``mmprod caption`` writes; lengths in tokens after the prompt."""

    method: Literal["beam", "nucleus"] = "beam"  # the likeliest words, or drawn from the likely ones
    beams: int = Field(default=3, ge=1, le=64)
    top_p: Share = 0.9  # nucleus: probability of the words that are drawn from
    min_tokens: int = Field(default=3, ge=0)
    max_tokens: int = Field(default=30, ge=1)
    repetition_penalty: float = Field(default=1.0, ge=1, le=10)  # over 1: words said already get less likely
    seed: int = Field(default=0, ge=0)
    batch: int = Field(default=32, ge=1)  # pictures at once
    prompt: str = ""  # how a caption begins
    prompts: dict[str, str] = {}  # the same for a category and those below it

    @model_validator(mode="after")
    def _lengths(self) -> "Caption":
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens {self.min_tokens} is over max_tokens {self.max_tokens}")
        return self


class Alert(Section):
    """A figure that must not fall from one evaluation to the next."""

    measure: str = "precision"
    facet: Literal["all", "category", "sales"] = "category"
    scope: str | None = None  # one category or band; any of the facet's when not given
    drop: Share = 0.03  # how far it may fall, where the fall is significant


class Review(Section):
    """Which pairs reviewers are asked about, how, and what is made of their answers."""

    profile: str = "same_item"  # whose neighbours are reviewed
    level: int = Field(default=2, ge=1, le=8)  # category levels that make a stratum
    sales_bands: tuple[Share, ...] = (0.1, 0.5)  # shares of the products from the best selling down
    anchors_per_category: int = Field(default=12, ge=1)
    margin: Annotated[float, Field(gt=0, lt=0.5)] | None = None  # wanted ± by category, sizes the sample
    rank_bands: tuple[tuple[int, int], ...] = ((3, 3), (10, 2))  # (down to rank, how many of these)
    reviewers: tuple[Name, ...] = ()  # who gets a sheet of their own, and may answer
    overlap: Share = 0.2  # of the anchors, asked of two reviewers
    gold_share: Share = 0.05  # of a sheet, pairs an adjudicator has decided, to watch reviewers by
    repeat_share: Share = 0.05  # of a sheet, questions asked twice
    sheets: tuple[Literal["csv", "xlsx", "html", "label-studio"], ...] = ("csv", "xlsx", "html")
    picture: int = Field(default=320, ge=32, le=2048)  # pixels of a sheet's pictures
    settle: float = Field(default=2.0, ge=0)  # seconds a file in the inbox must have stayed as it is
    encoding: TextEncoding | None = None  # of files that aren't UTF-8; told by their words when not given
    policy: Literal["majority", "unanimous"] = "majority"
    adjudicators: tuple[Name, ...] = ()  # reviewers whose answer decides
    excluded: tuple[Name, ...] = ()  # reviewers whose answers don't count
    measures: tuple[str, ...] = ()  # P@k, AP@k and R@k of the deepest rank when not given
    wanted_precision: tuple[Share, ...] = (0.9, 0.95)  # that score thresholds are given for
    alerts: tuple[Alert, ...] = (Alert(),)
    exchange: dict[str, float] = {}  # category: share of a gain in these figures that sales showed
    seed: int = 0

    @model_validator(mode="after")
    def _bands(self) -> "Review":
        last = 0
        for to_rank, how_many in self.rank_bands:
            if not (last < to_rank and 1 <= how_many <= to_rank - last):
                raise ValueError(f"rank_bands {self.rank_bands}: want rising ranks, 1 to all pairs of each")
            last = to_rank
        if not last:
            raise ValueError("rank_bands is empty: want at least one (rank, how many)")
        if list(self.sales_bands) != sorted(set(self.sales_bands)):
            raise ValueError(f"sales_bands {self.sales_bands}: want rising shares")
        return self

    @property
    def depth(self) -> int:
        """The deepest rank that is asked about."""
        return self.rank_bands[-1][0]

    @property
    def all_measures(self) -> tuple[str, ...]:
        """What is computed, "precision" always."""
        named = self.measures or (f"P@{self.depth}", f"AP@{self.depth}", f"R@{self.depth}")
        return ("precision", *(name for name in named if name != "precision"))


class Export(Section):
    """The gate an exported engine has to pass, tower by tower, against torch in fp32."""

    samples: int = Field(default=500, ge=32)  # products whose picture and title are tried
    min_cosine: Share = 0.99999  # worst cosine of any input, fp32
    min_recall: Share = 0.999  # recall@10 of exact search, fp32
    min_cosine_half: Share = 0.9995  # the same for fp16 and bf16
    min_recall_half: Share = 0.95


class Serving(Section):
    """What the online service serves, what one request may ask for, and where the local server listens."""

    engine: Literal["onnx-fp32", "onnx-fp16"] = "onnx-fp32"  # the exported encoder
    profiles: tuple[str, ...] = ("same_item", "similar_item", "selection")
    precision: Share = 0.9  # that score thresholds are taken for; one of review.wanted_precision
    thresholds: dict[str, dict[str, Share]] = {}  # profile: {category or "all": score}, in place of those
    batch: int = Field(default=64, ge=1, le=1024)  # titles, pictures or pairs of one request, and of a batch
    delay: float = Field(default=0.0, ge=0)  # milliseconds that a batch waits for company
    deadline: float = Field(default=5.0, gt=0)  # seconds that an answer may take
    text_bytes: int = Field(default=1_048_576, ge=1)
    image_bytes: int = Field(default=20_000_000, ge=1)
    max_k: int = Field(default=1000, ge=1, le=10_000)
    threads: int = Field(default=1, ge=0)  # of the runtime, a model instance; 0: all it may use
    instances: int = Field(default=1, ge=1, le=64)  # of each encoder model, on each GPU where there are any
    cache_bytes: int = Field(default=67_108_864, ge=0)  # of vectors kept to be answered again; 0: none
    host: str = "127.0.0.1"  # that the gateway listens on; Triton itself stays on the loopback address
    port: int = Field(default=8000, ge=1, le=65_533)  # HTTP; metrics are at the port two above
    requests: int = Field(default=256, ge=1)  # in flight at once; more are refused with 503
    body_bytes: int = Field(default=33_554_432, ge=1)  # of a request
    body_seconds: float = Field(default=10, gt=0)  # that a request's body may take to arrive
    probe_seconds: float = Field(default=5, gt=0)  # between looks whether the server answers as it should
    patience: float = Field(default=60, gt=0)  # seconds that a starting server may take
    log_share: Share = 0.01  # of answered requests that are logged; errors always are
    shared_memory: bool = False  # let callers on this machine pass tensors in shared memory
    environment: Path = Path(".venv-triton")  # the server's own, of `make triton`
    models: Path = Path("triton_models")


class Config(Section):
    """Everything that can be configured."""

    lake: Path = Path("lake")
    keep_generations: int = Field(default=3, ge=1)
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"  # of numeric libraries, a process
    engine: Literal["local", "ray"] = "local"  # where shards are encoded and encoders trained
    table: Table = Table()
    store: Store = Store()
    images: Images = Images()
    encoder: EncoderSection = EncoderSection()
    ray: Ray = Ray()
    profiles: dict[str, Profile] = {
        "same_item": Profile(image=0.5, text=0.5),
        "similar_item": Profile(image=0.7, text=0.3),
        "selection": Profile(image=1, text=0),
    }
    index: Index = Index()
    recall: Recall = Recall()
    groups: Groups = Groups()
    review: Review = Review()
    pairs: Selection = Selection()
    caption: Caption = Caption()
    export: Export = Export()
    serving: Serving = Serving()
    finetune: Options = Options()

    @model_validator(mode="after")
    def _known_profiles(self) -> "Config":
        for name in (*self.recall.profiles, self.review.profile):
            self.profile(name)
        return self

    @property
    def thread_count(self) -> int:
        """Threads of numeric libraries in this process."""
        return share() if self.threads == "auto" else self.threads

    @property
    def table_spec(self) -> "TableSpec":
        """How `open_table` is to read the product table."""
        from mmprod.datasets.tables import mapping  # with Arrow, which many commands don't need
        from mmprod.datasets.tables.mapping import TableSpec

        live = self.table.live
        return TableSpec(
            **self.table.model_dump(exclude={"snapshot", "live"}),
            live=mapping.Live(**live.model_dump()) if live else None,
        )

    def profile(self, name: str) -> Profile:
        """The profile of that name; InputError names those there are."""
        if name not in self.profiles:
            raise InputError(f"no profile {name!r}; there are {', '.join(sorted(self.profiles))}")
        return self.profiles[name]
