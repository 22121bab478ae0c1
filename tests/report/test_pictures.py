import json

import numpy as np

from fedlocal.report.graphs import MOST_LINKS, graphs_of
from fedlocal.report.groups import groups_of
from fedlocal.report.partition_summary import MOST_CLIENTS, summarise_partitions
from fedlocal.report.runs import read_runs
from partitions import Partition
from tests.report.folders import run_folder


def strategy(name, graph, **more):
    return {"strategy": {"_target_": f"strategies.{name}", "graph": graph, **more}}


def graphs(folder):
    return graphs_of(groups_of(read_runs([folder])))


def test_counts_of_classes_and_shares_of_examples(tmp_path):
    held = Partition([[0, 1, 2, 3], [3, 4]])
    run_folder(tmp_path / "0", "K=2", partition=held, labels=[0, 0, 1, 1, 1])
    (one,) = summarise_partitions(read_runs([tmp_path]))
    assert one.counts.tolist() == [[2, 2], [0, 2]]
    # A quarter of what client 0 holds is at client 1, and half the other way.
    assert one.shared is not None and one.shared.tolist() == [[1, 0.25], [0.5, 1]]
    assert (one.total, one.note) == (2, "")


def test_without_copies_there_is_nothing_shared(tmp_path):
    run_folder(tmp_path / "0", "K=2", partition=Partition([[0], [1]]), labels=[0, 1])
    assert summarise_partitions(read_runs([tmp_path]))[0].shared is None


def test_each_partition_once_named_by_what_it_depends_on(tmp_path):
    for number, (clients, lr) in enumerate([(2, 0.1), (2, 0.2), (3, 0.1)]):
        held = Partition([[client] for client in range(clients)])
        run_folder(
            tmp_path / str(number), f"K={clients}", f"lr={lr}", partition=held, labels=[0, 1, 2]
        )
    run_folder(tmp_path / "none", "K=9")
    assert [one.label for one in summarise_partitions(read_runs([tmp_path]))] == ["K=2", "K=3"]


def test_many_clients_are_thinned_and_it_is_said(tmp_path):
    held = Partition([[client, client + 1] for client in range(1000)])
    run_folder(tmp_path / "0", "K=1000", partition=held, labels=[0, 1] * 501)
    (one,) = summarise_partitions(read_runs([tmp_path]))
    assert len(one.clients) == MOST_CLIENTS and one.clients[1] == 10
    assert one.counts.shape == (100, 2)
    assert one.shared is not None and one.shared.shape == (100, 100)
    assert one.note == "100 of 1000 clients are shown, evenly spaced"


def test_a_graph_is_built_again_with_its_spectral_gap(tmp_path):
    config = strategy("d_pasgd", "ring", lr=0.1, period=10)
    for number, lr in enumerate((0.1, 0.2)):
        run_folder(tmp_path / str(number), "K=8", f"lr={lr}", config=config)
    run_folder(tmp_path / "2", "K=8", "lr=0.3")
    (one,) = graphs(tmp_path).pictures
    assert one.title == "ring of 8: spectral gap 0.195, each client talks to 2"
    assert one.groups == ["lr=0.1", "lr=0.2"] and not one.directed
    pairs = {tuple(sorted(link)) for link in one.links.tolist()}
    assert pairs == {tuple(sorted((i, (i + 1) % 8))) for i in range(8)}
    assert np.allclose(np.linalg.norm(one.nodes, axis=1), 1)


def test_links_that_go_one_way_and_change(tmp_path):
    run_folder(tmp_path / "0", config=strategy("sgp", "one_peer_exponential", lr=0.1, period=1))
    (one,) = graphs(tmp_path).pictures
    assert one.directed and "The links of all 2 rounds together" in one.note
    assert [0, 1] in one.links.tolist() and [0, 2] in one.links.tolist()


def test_auxiliary_nodes_belong_to_the_graph(tmp_path):
    config = strategy("cooperative_sgd", "complete", lr=0.1, period=1, auxiliary=1)
    run_folder(tmp_path / "0", config=config)
    (one,) = graphs(tmp_path).pictures
    assert (len(one.nodes), one.auxiliary) == (5, 1)


def test_many_links_are_thinned_and_it_is_said(tmp_path):
    config = strategy("d_pasgd", "complete", lr=0.1, period=10)
    run_folder(tmp_path / "0", "K=150", config=config)
    (one,) = graphs(tmp_path).pictures
    assert 0 < len(one.links) <= MOST_LINKS < 150 * 149 / 2
    assert f"{len(one.links)} of 11175 links are shown" in one.note


def test_a_graph_that_has_gone_is_said_and_costs_no_other(tmp_path):
    run_folder(tmp_path / "0", "K=4", config=strategy("d_pasgd", "gone.npy", lr=0.1, period=1))
    run_folder(tmp_path / "1", "K=5", config=strategy("d_pasgd", "ring", lr=0.1, period=1))
    found = graphs(tmp_path)
    assert len(found.pictures) == 1
    assert "gone.npy" in found.lost["K=4"]
    summary = json.loads((tmp_path / "1/summary.json").read_text())
    summary["config"]["strategy"]["_target_"] = "not.installed.here"
    (tmp_path / "1/summary.json").write_text(json.dumps(summary))
    assert set(graphs(tmp_path).lost) == {"K=4", "K=5"}
