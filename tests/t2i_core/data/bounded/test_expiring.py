from t2i_core.data.bounded.expiring import ExpiringCache


def test_values_expire_and_the_first_goes_when_all_weigh_too_much() -> None:
    now = 100.0
    cache = ExpiringCache[str](10, lambda: now)
    cache.put("a", "A", 5, 4)
    cache.put("b", "B", 50, 4)
    cache.touch("a")
    cache.put("c", "C", 50, 4)
    assert [cache.get(name) for name in "abc"] == ["A", None, "C"]
    cache.change("a", "A2")
    now = 104.9
    assert cache.get("a") == "A2"
    now = 105.0
    assert [cache.get(name) for name in "ac"] == [None, "C"]
    # Never the last, however heavy; and what takes the place of another weighs alone.
    cache.put("d", "D", 50, 99)
    assert [cache.get(name) for name in "acd"] == [None, None, "D"]
    cache.put("d", "D2", 50, 1)
    cache.put("e", "E", 50, 9)
    assert [cache.get(name) for name in "de"] == ["D2", "E"]
