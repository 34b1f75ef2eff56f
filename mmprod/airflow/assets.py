"""The DAGs' outputs as assets, for scheduling other DAGs; each event has counts and generation."""

from airflow.sdk import Asset, AssetWatcher

from mmprod.airflow.arrivals import InboxTrigger

PROFILES = ("same_item", "similar_item")
"""The daily profiles, as in the configuration; `selection` is built weekly."""

STORE = Asset("mmprod_store", "mmprod://lake/store")
EMBEDDINGS = Asset("mmprod_embeddings", "mmprod://lake/embeddings")
INDEX = {name: Asset(f"mmprod_index_{name}", f"mmprod://lake/indexes/{name}") for name in PROFILES}
RECALL = {name: Asset(f"mmprod_recall_{name}", f"mmprod://lake/recall/{name}") for name in PROFILES}
SELECTION = Asset("mmprod_index_selection", "mmprod://lake/indexes/selection")
GROUPS = Asset("mmprod_groups", "mmprod://lake/groups")
FEATURES = Asset("mmprod_features", "mmprod://lake/features")
ENCODER = Asset("mmprod_encoder", "mmprod://lake/encoders")
SHEETS = Asset("mmprod_sheets", "mmprod://lake/reviews/surveys")
JUDGEMENTS = Asset("mmprod_judgements", "mmprod://lake/reviews/judgements")
EVALUATION = Asset("mmprod_evaluation", "mmprod://lake/evaluations")
RELEASE = Asset("mmprod_release", "mmprod://lake/releases")
FOUND = Asset("mmprod_found", "mmprod://lake/found")
INBOX = Asset(
    "mmprod_inbox",
    "mmprod://lake/reviews/inbox",
    watchers=[AssetWatcher(name="label_files", trigger=InboxTrigger())],
)
