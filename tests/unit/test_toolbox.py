from remit.toolbox import announce, announced


def test_the_tools_of_the_last_worker(tmp_path):
    home = tmp_path / "home"
    assert announced(home) is None
    announce(home, ["b", "a"])
    assert announced(home) == {"a", "b"}
    announce(home, ["c"])
    assert announced(home) == {"c"}
    (file,) = home.iterdir()
    assert (file.name, file.stat().st_mode & 0o777, home.stat().st_mode & 0o777) == ("tools.json", 0o600, 0o700)


def test_a_damaged_file_says_nothing(tmp_path):
    (tmp_path / "tools.json").write_text("{")
    assert announced(tmp_path) is None
    (tmp_path / "tools.json").write_text('{"a": 1}')
    assert announced(tmp_path) is None
