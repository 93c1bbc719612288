"""Evaluation, clustering and re-ranking as torchreid, fast-reid and cluster contrast compute them, on numpy, faiss and
scikit-learn: dense distances, whole rows sorted, and n x n arrays. Answers like the example of tests/benches/retrieval.rs.

usage: retrieval_peer.py rank|rerank|cluster FOLDER THREADS
"""

import os
import pathlib
import resource
import sys
import time

THREADS = sys.argv[3]
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = THREADS

import numpy as np  # noqa: E402  after the number of threads

MAX_RANK = 50


def squared(a, b):
    """Squared Euclidean distances, in place where it can be."""
    distances = -2 * (a @ b.T)
    distances += (a * a).sum(1)[:, None]
    distances += (b * b).sum(1)[None, :]
    return distances


def evaluate(distances, labels, queries):
    """torchreid's and fast-reid's Market-1501 protocol: every row sorted as a whole."""
    pids, cameras = labels
    gallery_pids, gallery_cameras = pids[queries:], cameras[queries:]
    order = np.argsort(distances, axis=1)
    hits_at, precisions, penalties = np.zeros(MAX_RANK), [], []
    for query in range(queries):
        ranked = order[query]
        same = gallery_pids[ranked] == pids[query]
        hits = same[~(same & (gallery_cameras[ranked] == cameras[query]))]
        if not hits.any():
            continue
        places = np.flatnonzero(hits)
        hits_at[places[0] :] += 1
        found = np.arange(1, len(places) + 1)
        precisions.append((found / (places + 1)).mean())
        penalties.append(len(places) / (places[-1] + 1))
    return f"mAP {np.mean(precisions):.4f} rank-1 {hits_at[0] / len(precisions):.4f} mINP {np.mean(penalties):.4f}"


def mutual(order, i, k):
    near = order[i, :k]
    return near[(order[near, :k] == i).any(1)]


def neighbourhood(order, i, whole, half):
    own = mutual(order, i, whole)
    extended = own
    for j in own:
        other = mutual(order, j, half)
        if len(np.intersect1d(other, own)) > 2 / 3 * len(other):
            extended = np.append(extended, other)
    return np.unique(extended)


def shared(weights, rows):
    """Sums of smaller weights, by the columns of each row that are not 0."""
    columns = [np.flatnonzero(weights[:, j]) for j in range(weights.shape[1])]
    for i in rows:
        sums = np.zeros(len(weights), np.float32)
        for j in np.flatnonzero(weights[i]):
            sums[columns[j]] += np.minimum(weights[i, j], weights[columns[j], j])
        yield i, sums


def cluster(features, pids, k1=30, k2=6):
    """Cluster contrast: faiss for neighbours, a dense Jaccard distance, scikit-learn's DBSCAN on it."""
    import faiss
    from sklearn.cluster import DBSCAN
    from sklearn.metrics import adjusted_rand_score

    faiss.omp_set_num_threads(int(THREADS))
    index = faiss.IndexFlatL2(features.shape[1])
    index.add(features)
    order = index.search(features, k1)[1]
    n, half = len(features), int(np.around(k1 / 2)) + 1
    weights = np.zeros((n, n), np.float32)
    for i in range(n):
        near = neighbourhood(order, i, k1, half)
        weight = np.exp(-(2 - 2 * features[near] @ features[i]))
        weights[i, near] = weight / weight.sum()
    weights = np.stack([weights[order[i, :k2]].mean(0) for i in range(n)])
    distances = np.zeros((n, n), np.float32)
    for i, sums in shared(weights, range(n)):
        distances[i] = np.maximum(1 - sums / (2 - sums), 0)
    del weights
    found = DBSCAN(eps=0.6, min_samples=4, metric="precomputed", n_jobs=-1).fit_predict(distances)
    kept = found >= 0
    # Every outlier is a cluster of its own.
    alone = np.where(kept, found, found.max() + 1 + np.arange(n))
    area = adjusted_rand_score(pids, alone)
    return f"clusters {found.max() + 1} outliers {(~kept).sum()} ARI {area:.4f}"


def rerank(query, gallery, labels, k1=20, k2=6, weight=0.3):
    """Zhong's re-ranking with its dense arrays."""
    everyone, queries = np.concatenate([query, gallery]), len(query)
    distances = squared(everyone, everyone)
    distances = (distances / distances.max(0)).T
    order = np.argsort(distances, axis=1)
    n, half = len(everyone), int(np.around(k1 / 2)) + 1
    weights = np.zeros_like(distances)
    for i in range(n):
        near = neighbourhood(order, i, k1 + 1, half)
        own = np.exp(-distances[i, near])
        weights[i, near] = own / own.sum()
    distances = distances[:queries]
    weights = np.stack([weights[order[i, :k2]].mean(0) for i in range(n)])
    del order
    final = np.zeros((queries, n), np.float32)
    for i, sums in shared(weights, range(queries)):
        final[i] = 1 - sums / (2 - sums)
    final = final * (1 - weight) + distances * weight
    return evaluate(final[:, queries:], labels, queries)


def main():
    work, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    width = int((folder / "shape.txt").read_text())
    query, gallery = (np.fromfile(folder / f"{side}.f32", "<f4").reshape(-1, width) for side in ("query", "gallery"))
    labels = np.fromfile(folder / "labels.i64", "<i8").reshape(2, -1)
    run = {
        "rank": lambda: evaluate(squared(query, gallery), labels, len(query)),
        "rerank": lambda: rerank(query, gallery, labels),
        "cluster": lambda: cluster(gallery, labels[0, len(query) :]),
    }[work]
    print("ready", flush=True)
    found = ""
    for line in sys.stdin:
        count = int(line)
        began = time.perf_counter()
        for _ in range(count):
            found = run()
        print((time.perf_counter() - began) * 1e3 / count, flush=True)
    print(found)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


main()
