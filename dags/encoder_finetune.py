"""On demand: fine-tune a candidate encoder, compare it with the one in use, ask for approval, migrate.

Training uses the lake's own products and does not block nightly runs. The candidate is exported (its engine
has to match torch) and compared on a sample, without changing the lake. Then a person approves or rejects
it, under *Required Actions*. After approval all products are embedded with it, in a table of their own,
while daily runs continue with the old encoder. Then the new encoder replaces the old one, and all profiles
switch together. If an index is refused, the encoder is rolled back and the old indexes stay in use.
"""

from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param, TriggerRule

from mmprod.airflow.alerts import failed, within
from mmprod.airflow.assets import EMBEDDINGS, ENCODER, INDEX, RECALL
from mmprod.airflow.command import Mmprod
from mmprod.airflow.embedding import embedding

ASKED = """
On {{ ti.xcom_pull('compare')['products'] }} products:

| encoder | a title finds its picture first | among ten |
|---|---|---|
| in use | {{ '%.3f' % ti.xcom_pull('compare')['current_recall_1'] }} \
| {{ '%.3f' % ti.xcom_pull('compare')['current_recall_10'] }} |
| candidate | {{ '%.3f' % ti.xcom_pull('compare')['candidate_recall_1'] }} \
| {{ '%.3f' % ti.xcom_pull('compare')['candidate_recall_10'] }} |

{{ '%.0f' % (100 * ti.xcom_pull('compare')['overlap']) }} % of each product's nearest ten stay.
Held-out pairs: {{ ti.xcom_pull('finetune')['finetune'] }}
"""
PROMOTED = "{{ (ti.xcom_pull('promote') or {}).get('promote', {}).get('generation', 'none') }}"

with DAG(
    "encoder_finetune",
    schedule=None,
    max_active_runs=1,
    default_args={
        "owner": "models",
        "retries": 2,
        "retry_delay": timedelta(minutes=5),
        "retry_exponential_backoff": True,
        "execution_timeout": timedelta(days=2),
        "on_failure_callback": failed,
        "pool": "mmprod_lake",
    },
    params={
        "task": Param("retrieval", enum=["retrieval", "same-item"], description="What to train for."),
        "name": Param(
            "candidate",
            type="string",
            pattern="^[a-z0-9][a-z0-9_-]{0,39}$",
            description="Published as lake:NAME.",
        ),
        "base": Param(
            "", type="string", maxLength=200, description="Encoder to start from; empty: the one in use."
        ),
        "epochs": Param(5, type="number", exclusiveMinimum=0, maximum=100),
        "categories": Param(
            [],
            type="array",
            items={"type": "string"},
            description="Train on these categories and those below them; empty: on all.",
        ),
        "products": Param(
            1000, type="integer", minimum=2, maximum=100_000, description="Sample to compare on."
        ),
    },
    deadline=within("encoder_finetune", timedelta(days=9)),
    tags=["mmprod", "manual", "encoder"],
    doc_md=__doc__,
):
    finetune = Mmprod(
        task_id="finetune",
        words=[
            *("finetune", "--wait", "--task", "{{ params.task }}", "--name", "{{ params.name }}"),
            *("--epochs", "{{ params.epochs }}"),
            "{{ '--base=' ~ params.base if params.base }}",
            "{% for name in params.categories %}--category={{ name }}\n{% endfor %}",
        ],
        pool="mmprod_gpu",
    )
    export = Mmprod(
        task_id="export", words=["export", "onnx", "--wait", "--encoder", "lake:{{ params.name }}"], retries=0
    )
    compare = Mmprod(
        task_id="compare",
        words=["encoder", "compare", "{{ params.name }}", "--products", "{{ params.products }}"],
        pool="mmprod_gpu",
    )
    approve = ApprovalOperator(
        task_id="approve",
        subject="Put lake:{{ params.name }} in the place of the encoder in use?",
        body=ASKED,
        response_timeout=timedelta(days=7),
        execution_timeout=None,
        retries=0,
        pool="default_pool",
    )
    promote = Mmprod(
        task_id="promote",
        words=["encoder", "promote", "{{ params.name }}", "--wait"],
        outlets=[ENCODER, EMBEDDINGS],
    )
    store, embed = embedding(candidate="{{ params.name }}")
    index = Mmprod(task_id="index", words=["index", "build", "--wait"], outlets=[*INDEX.values()], retries=0)
    go_back = Mmprod(
        task_id="go_back",
        words=["encoder", "rollback", "--wait", "--from", PROMOTED],
        trigger_rule=TriggerRule.ONE_FAILED,  # also if a task before promote failed: then it does nothing
    )
    finetune >> [export, compare] >> approve >> store
    embed >> promote >> index
    [promote, index] >> go_back
    for profile, asset in RECALL.items():
        words = ["recall", "build", "--wait", "--profile", profile]
        index >> Mmprod(task_id=f"recall_{profile}", words=words, outlets=[asset])
