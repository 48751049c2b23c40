"""Page of a run under way: made anew when the run has written more, escaped, on this machine alone."""

import http.client
import threading
import urllib.request

import pytest
from report_runs import Elements, evaluation, metric, sample, write_lines, write_run

from r1jax.config import ConfigError
from r1jax.tools import watch


@pytest.fixture(autouse=True)
def no_plots(monkeypatch):
    """`report_test` sees to the plots, which take seconds."""
    monkeypatch.setattr("r1jax.report.run.draw_plots", lambda stage, metrics, evals: [])


@pytest.fixture
def serve():
    """A function that serves a run and returns the page's address."""
    servers = []

    def start(run) -> str:
        servers.append(server := watch.make_server(run))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def get(address: str) -> str:
    with urllib.request.urlopen(address) as reply:
        assert reply.headers["Cache-Control"] == "no-store"
        return reply.read().decode()


def test_a_page_is_that_of_the_run_as_it_goes(tmp_path, serve):
    run = write_run(tmp_path / "run", [evaluation(0, 0.1)], [metric(0)])
    before = sorted(run.rglob("*"))
    address = serve(run)
    first, version = get(address), get(address + "version")
    assert "it logged 1 of 100 steps" in first and "Newest samples" not in first and 'fetch("version")' in first
    assert get(address + "version") == version
    assert sorted(run.rglob("*")) == before  # nothing is written into the workdir
    write_lines(run / "rollouts" / "step_000001.jsonl", [sample(1, "sums", "<img src=x onerror=alert(1)>", reward=0.5)])
    write_lines(run / "metrics.jsonl", [metric(0), metric(1)])
    assert get(address + "version") != version
    second = get(address)
    assert "it logged 2 of 100 steps" in second and "Newest samples" in second and "Of step 1," in second
    assert "&lt;img src=x onerror=alert(1)&gt;" in second and "<img src=x" not in second
    assert Elements(second).tags.count("script") == 1  # the page's own


def test_a_line_that_is_not_complete_leaves_the_page_as_it_was(tmp_path, serve):
    run = write_run(tmp_path / "run", [], [metric(0), metric(1)])
    address = serve(run)
    assert "it logged 2 of 100 steps" in get(address)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert "it logged 2 of 100 steps" in get(address)


def test_a_run_without_a_row_says_so_and_shows_the_first_one(tmp_path, serve):
    run = tmp_path / "a <b> run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    address = serve(run)
    text = get(address)
    assert "no step and no evaluation yet" in text and "<b>" not in text and 'fetch("version")' in text
    write_lines(run / "metrics.jsonl", [metric(0)])
    assert "How the run went" in get(address)


def test_requests_by_another_name_or_for_another_path_get_nothing(tmp_path, serve):
    address = serve(write_run(tmp_path / "run"))
    port = int(address.rstrip("/").rpartition(":")[2])
    for path, host in [("/", "attacker.example"), ("/config.json", "127.0.0.1"), ("/../config.json", "127.0.0.1")]:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", path, headers={"Host": f"{host}:{port}"})
        assert connection.getresponse().status == 404
        connection.close()


def test_what_is_no_run_is_an_error(tmp_path, capsys):
    assert watch.main([str(tmp_path / "nothing"), "--no-browser"]) == 2
    assert "no folder" in capsys.readouterr().err
    assert watch.main([str(tmp_path), "--no-browser"]) == 2
    assert "is no run: it holds none of config.json" in capsys.readouterr().err
    run = write_run(tmp_path / "run")
    with watch.make_server(run) as server, pytest.raises(ConfigError, match=r"--port=.* cannot be had"):
        watch.make_server(run, server.server_address[1])
    with pytest.raises(ConfigError, match="--port=70000 cannot be had"):
        watch.make_server(run, 70000)
