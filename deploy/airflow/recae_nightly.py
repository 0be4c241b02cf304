"""A DAG that trains on all purchases and writes recommendations for every user, each night.

recae runs on the worker; `SHOP_URL` comes from the connection `shop`. Both steps may be repeated: the model is
replaced when it is complete, and the table once for each day. Exit code 2 says that something is wrong with the data
or the options, which no second try mends.
"""

import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

MODEL = "/var/lib/recae/model.recae"
SHOP = {"SHOP_URL": "{{ conn.shop.get_uri() }}"}

with DAG(
    dag_id="recae_nightly",
    schedule="0 3 * * *",
    start_date=pendulum.datetime(2026, 12, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": pendulum.duration(minutes=10)},
) as dag:
    check = BashOperator(
        task_id="check",
        bash_command="recae doctor env:SHOP_URL --table purchases",
        env=SHOP,
        append_env=True,
        retries=0,
    )
    train = BashOperator(
        task_id="train",
        bash_command=f"recae train env:SHOP_URL --table purchases --out {MODEL}",
        env=SHOP,
        append_env=True,
    )
    score = BashOperator(
        task_id="score",
        bash_command=(
            f"recae score --model {MODEL} --out env:SHOP_URL --table recommendations --run-id '{{{{ ds }}}}' --top 20"
        ),
        env=SHOP,
        append_env=True,
    )
    check >> train >> score
