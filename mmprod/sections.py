"""The configuration's schema: one frozen model per section of ``mmprod.toml``; unknown keys are refused."""

import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from mmprod.datasets.pairs.options import Selection
from mmprod.datasets.tables.words import Live, Operation
from mmprod.datasets.threads import share
from mmprod.datasets.volatile import NAMES
from mmprod.encoders.export.spec import Backend
from mmprod.encoders.training.options import Options
from mmprod.storage.errors import InputError

if TYPE_CHECKING:
    from mmprod.datasets.tables.table import TableSpec
    from mmprod.eval.measures.measure import Measure

Share = Annotated[float, Field(ge=0, le=1)]


def _known_encoding(name: str) -> str:
    try:
        "x".encode(name)
    except LookupError:
        raise ValueError(f"there is no text encoding {name!r}") from None
    return name


TextEncoding = Annotated[str, AfterValidator(_known_encoding)]


def _measure(name: str) -> "Measure":
    from mmprod.eval.measures.named import parse  # with Arrow, which many commands don't need

    return parse(name)


def _known_measure(name: str) -> str:
    return _measure(name).name


MeasureName = Annotated[str, AfterValidator(_known_measure)]


def _one_form(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).split())


Name = Annotated[str, AfterValidator(_one_form)]
"""A person's name, normalised as in label files."""


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Table(Section):
    """How to read the product table: which of its columns has which meaning."""

    columns: dict[str, str] = {}  # our name -> the table's column; equal names need no entry
    category: tuple[str, ...] = ()  # the table's category columns, widest first
    attributes: tuple[str, ...] = ()  # the table's columns kept as attributes
    # Only a full table removes products that it does not list; changes are inserts, updates and deletes.
    snapshot: Literal["full", "partial", "changes"] = "full"
    operation: Operation | None = None  # of changes: which of them remove products
    pictures: tuple[str, ...] = ()  # the table's columns with further pictures
    separators: dict[str, str] = {}  # our name -> separator of several values in a cell
    live: Live | None = None  # which products are live, for tables without a column `deleted`
    rows: Literal["one", "first_non_empty"] | None = None  # what several rows of one id mean
    encoding: str | None = None  # CSV; default: detected
    delimiter: str | None = None  # CSV; default: detected
    quote: str | None = Field(default=None, max_length=1)  # CSV; "": no quoting, as in files with tabs
    skip_rows: int | tuple[int, ...] = 0  # CSV: lines to skip, a number of first lines or line numbers (from
    # 1)
    options: dict[str, str] = {}  # of the library that reads a Delta Lake or Iceberg table


class Store(Section):
    """The LMDB product store, and limits to what one day may change in it."""

    shards: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = "auto"  # auto: by the first table's rows
    batch_rows: int = Field(default=10_000, ge=1)  # rows per transaction
    max_removed_share: Share = 0.3  # a day that would remove more needs --approve-removals
    days_ahead: int = Field(default=2, ge=0)  # a day further ahead of the clock needs --approve-day
    volatile: tuple[str, ...] = NAMES  # attributes that change daily and concern no encoder


class Images(Section):
    """Sources of pictures, and limits."""

    root: Path = Path()  # image paths must lie below it
    max_pixels: int = Field(default=40_000_000, ge=1)
    allow_private_hosts: bool = False  # whether pictures may be fetched from addresses that are not public
    user_agent: str | None = Field(default=None, pattern=r"^[!-~]([ -~]*[!-~])?$")  # mmprod/VERSION
    fetch_seconds: float = Field(default=14_400, gt=0)  # limit for all fetching of a day's run


class EncoderSection(Section):
    """The encoder: ``lake:NAME`` (trained here), ``local-dir:…``, ``hf-hub:…``, an open_clip name,
    ``sentence-transformers:…``, or ``import:NAME`` (vectors made elsewhere)."""

    model: str = "lake:tiny"
    pretrained: str | None = None  # open_clip's tag, for its own names
    device: str = "cpu"
    backend: Backend | Literal["auto"] = "auto"  # what encodes products; auto: the fastest measured here
    min_cosine: Share = 0.9995  # lowest cosine of a backend's vectors with torch's in fp32
    batch: int = Field(default=256, ge=1)  # products per batch
    commit_rows: int = Field(default=10_000, ge=1)  # products per commit of the embedding table
    part_rows: int = Field(default=100_000, ge=1)  # changes per part, when shards are encoded separately
    unit_bytes: int = Field(default=1_000_000_000, ge=1)  # a unit (`embed --plan`) ends beyond so many
    categories: tuple[str, ...] = ()  # encode only these categories and those below them; empty: all


class Ray(Section):
    """The Ray cluster that encodes and trains if `engine` is "ray"; every node needs access to the lake."""

    address: str = "http://127.0.0.1:8265"  # of the cluster's dashboard, which accepts jobs
    command: str = "mmprod"  # the command on the nodes
    cpus: float = Field(default=1.0, ge=0)  # per job
    gpus: float = Field(default=0.0, ge=0)  # per job
    resources: dict[str, float] = {}  # custom resources of the cluster, per job
    attempts: int = Field(default=3, ge=1)  # in total, if a job's node is lost


class Profile(Section):
    """Weights of a fused index; they sum to 1."""

    image: Share
    text: Share
    form: Literal["exact", "half_width"] = "exact"  # half_width: half the memory, but the scores mix
    # picture-title cosines in

    @model_validator(mode="after")
    def _sum(self) -> "Profile":
        if not abs(self.image + self.text - 1) < 1e-6:
            raise ValueError(f"image {self.image} + text {self.text} must sum to 1")
        return self

    @property
    def weights(self) -> tuple[float, float]:
        return self.image, self.text


class Index(Section):
    """The Faiss index, and the gate that a new one has to pass before it is put in use."""

    factory: str = "auto"  # auto: flat if small, else IVF; or any Faiss factory string
    nprobe: int | None = Field(default=None, ge=1, le=65_536)  # lists per search; default: 1/16 of all
    min_recall: Share = 0.95  # recall@10 against exact search
    max_similarity: Share = 0.98  # mean cosine of random pairs; above it the encoder has collapsed
    max_shrink: Share = 0.3  # share of the products lost against the generation in use
    trained_for: int = Field(default=30, ge=1)  # generations in a row that share one training; 1: none do


class Recall(Section):
    """The recall table."""

    k: int = Field(default=10, ge=1, le=1000)
    profiles: tuple[str, ...] = ("same_item", "similar_item")


class Groups(Section):
    """Which products count as the same item."""

    profile: str = "same_item"  # whose recall table is read
    score: Share = 0.9  # lowest score, both ways, of mutual neighbours that count as the same item


class Caption(Section):
    """How ``mmprod caption`` generates text; lengths in tokens after the prompt."""

    method: Literal["beam", "nucleus"] = "beam"  # the likeliest words, or sampled from the likely ones
    beams: int = Field(default=3, ge=1, le=64)
    top_p: Share = 0.9  # nucleus: total probability of the words sampled from
    min_tokens: int = Field(default=3, ge=0)
    max_tokens: int = Field(default=30, ge=1)
    repetition_penalty: float = Field(default=1.0, ge=1, le=10)  # over 1: words already used get less likely
    seed: int = Field(default=0, ge=0)
    batch: int = Field(default=32, ge=1)  # pictures per batch
    prompt: str = ""  # the beginning of every caption
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
    scope: str | None = None  # one category or band; default: each of the facet
    drop: Share = 0.03  # alert if it falls further than this and the fall is significant


class Review(Section):
    """Surveys: sampling of pairs, sheets for reviewers, and evaluation of their answers."""

    profile: str = "same_item"  # whose neighbours are reviewed
    level: int = Field(default=2, ge=1, le=8)  # levels of the category that define a stratum
    sales_bands: tuple[Share, ...] = (0.1, 0.5)  # shares of the products from the best selling down
    anchors_per_category: int = Field(default=12, ge=1)
    margin: Annotated[float, Field(gt=0, lt=0.5)] | None = None  # wanted ± of each category's precision;
    # determines the sample's size
    rank_bands: tuple[tuple[int, int], ...] = ((3, 3), (10, 2))  # (last rank of the band, pairs drawn from
    # it)
    reviewers: tuple[Name, ...] = ()  # each gets a sheet; answers of others are refused
    overlap: Share = 0.2  # share of the anchors that two reviewers are asked about
    gold_share: Share = 0.05  # share of a sheet: pairs with a known answer, decided by an adjudicator
    repeat_share: Share = 0.05  # share of a sheet: questions asked twice
    sheets: tuple[Literal["csv", "xlsx", "html", "label-studio"], ...] = ("csv", "xlsx", "html")
    picture: int = Field(default=320, ge=32, le=2048)  # pixels of a sheet's pictures
    stable_seconds: float = Field(default=2.0, ge=0)  # seconds that a file in the inbox must be unchanged
    encoding: TextEncoding | None = None  # of files that aren't UTF-8; default: detected from their words
    policy: Literal["majority", "unanimous"] = "majority"
    adjudicators: tuple[Name, ...] = ()  # reviewers whose answers decide
    excluded: tuple[Name, ...] = ()  # reviewers whose answers don't count
    measures: tuple[MeasureName, ...] = ()  # default: P@k, AP@k and R@k with k the deepest rank
    wanted_precision: tuple[Share, ...] = (0.9, 0.95)  # score thresholds are computed for these
    alerts: tuple[Alert, ...] = (Alert(),)
    exchange: dict[str, float] = {}  # category: share of a gain in these figures that showed up in sales
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
        """The deepest rank about which reviewers are asked."""
        return self.rank_bands[-1][0]

    @property
    def all_measures(self) -> "tuple[Measure, ...]":
        """The measures to compute; precision always, and first."""
        named = self.measures or (f"P@{self.depth}", f"AP@{self.depth}", f"R@{self.depth}")
        return tuple(dict.fromkeys(_measure(name) for name in ("precision", *named)))


class Export(Section):
    """The gate for exported engines: each tower is compared with torch in fp32."""

    samples: int = Field(default=500, ge=32)  # products whose picture and title are compared
    min_cosine: Share = 0.99999  # lowest cosine of any input, fp32
    min_recall: Share = 0.999  # recall@10 of exact search, fp32
    min_cosine_half: Share = 0.9995  # the same for fp16 and bf16
    min_recall_half: Share = 0.95


class Serving(Section):
    """The online service: what it serves, its limits, and the address of the local server."""

    engine: Literal["onnx-fp32", "onnx-fp16"] = "onnx-fp32"  # the exported encoder
    profiles: tuple[str, ...] = ("same_item", "similar_item", "selection")
    precision: Share = 0.9  # which score thresholds are used; one of review.wanted_precision
    thresholds: dict[str, dict[str, Share]] = {}  # profile: {category or "all": score}; override the review's
    batch: int = Field(default=64, ge=1, le=1024)  # titles, pictures or pairs of a request, and of a batch
    delay: float = Field(default=0.0, ge=0)  # milliseconds that a batch waits for more requests
    deadline: float = Field(default=5.0, gt=0)  # seconds for an answer
    text_bytes: int = Field(default=1_048_576, ge=1)
    image_bytes: int = Field(default=20_000_000, ge=1)
    max_k: int = Field(default=1000, ge=1, le=10_000)
    threads: int = Field(default=1, ge=0)  # of the runtime in each model instance; 0: all that it may use
    instances: int = Field(default=1, ge=1, le=64)  # of each encoder model, on each GPU where there are any
    cache_bytes: int = Field(default=67_108_864, ge=0)  # of the vector cache of each instance; 0: no cache
    host: str = "127.0.0.1"  # address of the gateway; Triton itself is only on the loopback address
    port: int = Field(default=8000, ge=1, le=65_533)  # of HTTP; metrics are at this port + 2
    requests: int = Field(default=256, ge=1)  # in flight at the same time; more are refused with 503
    body_bytes: int = Field(default=33_554_432, ge=1)  # largest request
    body_seconds: float = Field(default=10, gt=0)  # for a request's headers to arrive, and for its body
    probe_seconds: float = Field(default=5, gt=0)  # seconds between two probes of the server
    start_seconds: float = Field(default=60, gt=0)  # seconds for a server to start
    log_share: Share = 0.01  # of successful requests that are logged; failed ones are always logged
    shared_memory: bool = False  # whether clients on this machine may pass tensors in shared memory
    environment: Path = Path(".venv-triton")  # the server's Python environment, made by `make triton`
    models: Path | None = None  # a model repository to use unchanged; else one is rendered from this section


class Config(Section):
    """Everything that can be configured."""

    lake: Path = Path("lake")
    keep_generations: int = Field(default=3, ge=1)
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"  # of numeric libraries, per process
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
        """The number of threads of numeric libraries in this process."""
        return share() if self.threads == "auto" else self.threads

    @property
    def table_spec(self) -> "TableSpec":
        """How `open_table` is to read the product table."""
        from mmprod.datasets.tables import mapping  # with Arrow, which many commands don't need

        return mapping.spec_of(self.table.model_dump())

    def profile(self, name: str) -> Profile:
        """The profile of that name. Raises: InputError, listing the profiles, if there is none."""
        if name not in self.profiles:
            raise InputError(f"no profile {name!r}; there are {', '.join(sorted(self.profiles))}")
        return self.profiles[name]
