"""CloudWatch of the sandbox, through boto3: alignment, percentiles, pages, refusals, and its speed on long history."""

import time
from datetime import timedelta

import pytest
from botocore.exceptions import ClientError

from sandbox.testing import START, client, fresh

DIMENSIONS = [{"Name": "A", "Value": "1"}, {"Name": "B", "Value": "2"}]


@pytest.fixture
def cloud():
    with fresh() as sandbox:
        yield sandbox


def put(cloud, *data, namespace="Test"):
    client(cloud, "cloudwatch").put_metric_data(
        Namespace=namespace,
        MetricData=[{"MetricName": "M", "Dimensions": DIMENSIONS, **datum} for datum in data],
    )


def at(minute, value):
    return {"Timestamp": START + timedelta(minutes=minute), "Value": value}


def query(statistic="Average", period=60, query_id="q", name="M", dimensions=None):
    metric = {"Namespace": "Test", "MetricName": name, "Dimensions": DIMENSIONS if dimensions is None else dimensions}
    return {"Id": query_id, "MetricStat": {"Metric": metric, "Period": period, "Stat": statistic}}


def get(cloud, *queries, start=-60, end=60, **more):
    return client(cloud, "cloudwatch").get_metric_data(
        MetricDataQueries=list(queries),
        StartTime=START + timedelta(minutes=start),
        EndTime=START + timedelta(minutes=end),
        **more,
    )


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [("Average", 25), ("Sum", 100), ("Minimum", 10), ("Maximum", 40), ("SampleCount", 4), ("p50", 25), ("p100", 40)],
)
def test_statistics_of_a_period(cloud, statistic, expected):
    put(cloud, at(0, 10), at(1, 20), at(2, 30), at(3, 40))
    assert get(cloud, query(statistic, 300))["MetricDataResults"][0]["Values"] == [expected]


def test_periods_are_aligned_to_the_clock_and_the_newest_comes_first(cloud):
    put(cloud, at(1, 5), at(3, 1), at(4, 3), at(5, 7))
    answer = get(cloud, query(period=300), start=2, end=7)["MetricDataResults"][0]
    assert answer["Values"] == [7, 3], "a start inside a period takes the whole period"
    assert answer["Timestamps"] == [START + timedelta(minutes=5), START]


def test_the_order_of_dimensions_does_not_matter_but_all_of_them_do(cloud):
    put(cloud, at(0, 1))
    assert get(cloud, query(dimensions=DIMENSIONS[::-1]))["MetricDataResults"][0]["Values"] == [1]
    assert get(cloud, query(dimensions=DIMENSIONS[:1]))["MetricDataResults"][0]["Values"] == []
    assert get(cloud, query(dimensions=[]))["MetricDataResults"][0]["Values"] == []


def test_values_with_counts_and_statistic_sets(cloud):
    put(
        cloud,
        {"Timestamp": START, "Values": [1.0, 5.0], "Counts": [3, 1]},
        {
            "Timestamp": START + timedelta(minutes=1),
            "StatisticValues": {"Sum": 30, "SampleCount": 3, "Minimum": 5, "Maximum": 20},
        },
    )
    answer = get(cloud, query(), query("SampleCount", query_id="n"), query("p90", query_id="p"))["MetricDataResults"]
    assert [r["Values"] for r in answer[:2]] == [[10, 2], [3, 4]]
    assert len(answer[2]["Values"]) == 1, "a set of different values has no percentile"


def test_data_comes_in_pages(cloud):
    put(cloud, *(at(minute, minute) for minute in range(10)))
    pages = [get(cloud, query(), query("Sum", query_id="r"), MaxDatapoints=8, ScanBy="TimestampAscending")]
    while token := pages[-1].get("NextToken"):
        pages.append(
            get(
                cloud,
                query(),
                query("Sum", query_id="r"),
                MaxDatapoints=8,
                NextToken=token,
                ScanBy="TimestampAscending",
            )
        )
    seen = {"q": [], "r": []}
    for page in pages:
        for result in page["MetricDataResults"]:
            seen[result["Id"]] += result["Values"]
    assert len(pages) == 3
    assert pages[0]["MetricDataResults"][0]["StatusCode"] == "PartialData"
    assert seen == {"q": list(range(10)), "r": list(range(10))}


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ([query(query_id=f"q{i}") for i in range(501)], "500"),
        ([query(), query()], "not unique"),
        ([query(query_id="Q")], "invalid"),
        ([query(period=45)], "multiple of 60"),
        ([query("IQM")], "not known"),
        ([query(), {"Id": "m", "Expression": "q*2"}], "bare id"),
    ],
)
def test_wrong_queries_are_refused(cloud, queries, message):
    with pytest.raises(ClientError, match=message):
        get(cloud, *queries)


@pytest.mark.parametrize(
    ("namespace", "data", "message"),
    [
        ("AWS/ECS", [at(0, 1)], "AWS/ECS"),
        ("Test", [at(-15 * 1440, 1)], "two weeks"),
        ("Test", [at(181, 1)], "two hours"),
        ("Test", [at(0, 1)] * 1001, "1000"),
    ],
)
def test_wrong_data_are_refused(cloud, namespace, data, message):
    with pytest.raises(ClientError, match=message):
        put(cloud, *data, namespace=namespace)


def test_metrics_are_listed_once_each(cloud):
    put(cloud, at(0, 1), at(1, 2))
    listed = client(cloud, "cloudwatch").list_metrics(Namespace="Test", Dimensions=[{"Name": "B"}])["Metrics"]
    assert listed == [{"Namespace": "Test", "MetricName": "M", "Dimensions": DIMENSIONS}]


def test_get_metric_statistics_agrees_and_has_its_limit(cloud):
    put(cloud, at(0, 10), at(1, 20))
    ask = {"Namespace": "Test", "MetricName": "M", "Dimensions": DIMENSIONS, "StartTime": START}
    cloudwatch = client(cloud, "cloudwatch")
    points = cloudwatch.get_metric_statistics(
        **ask, EndTime=START + timedelta(hours=1), Period=300, Statistics=["Average", "Sum"], ExtendedStatistics=["p0"]
    )["Datapoints"]
    assert [(p["Average"], p["Sum"], p["ExtendedStatistics"]) for p in points] == [(15, 30, {"p0": 10})]
    with pytest.raises(ClientError, match="1440"):
        cloudwatch.get_metric_statistics(**ask, EndTime=START + timedelta(days=2), Period=60, Statistics=["Sum"])


def test_two_weeks_of_minutes_are_read_quickly(cloud):
    for minute in range(14 * 1440):
        cloud.put_metric("Test", "M", {"A": "1", "B": "2"}, minute, START - timedelta(minutes=minute))
    before = time.perf_counter()
    answer = get(cloud, query(), start=-14 * 1440, end=1)["MetricDataResults"][0]
    assert len(answer["Values"]) == 14 * 1440
    assert time.perf_counter() - before < 5, "moto alone needs half a minute"
