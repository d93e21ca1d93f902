"""The published re-ranking algorithm in plain torch, as a baseline.

One query at a time: einsum, complement marginals, then up to 100 Sinkhorn iterations of matrix-vector
products. They stop when the row scaling moves by less than 0.1 on average over the whole batch. This is after two or
three iterations, so its scores have not converged; this is part of the comparison.
"""

import torch

EPSILON = 0.05
MAX_ITERATIONS = 100
STOP = 0.1


def feature_maps(query_patches, database_patches, query_global, database_global):
    """Its inputs from our descriptors (P, C) and (N, Q, C): channels first, as in convolutional feature maps."""
    arrays = query_patches.T, database_patches.swapaxes(1, 2), query_global, database_global
    return tuple(torch.as_tensor(array).contiguous() for array in arrays)


def published_scores(query, database, query_global, database_global):
    """Scores (N,) of a query's feature map (C, P) and its candidates' (N, C, Q), tensors in, numpy out."""
    similarity = torch.einsum("cp,ncq->npq", query, database).contiguous()
    mu = 1 - torch.einsum("cp,nc->np", query, database_global).clamp(min=0)
    nu = 1 - torch.einsum("ncq,c->nq", database, query_global).clamp(min=0)
    mu, nu = mu / mu.sum(1, keepdim=True), nu / nu.sum(1, keepdim=True)
    kernel = torch.exp(-(1 - similarity) / EPSILON)
    r, c = torch.ones_like(mu), torch.ones_like(nu)
    for _ in range(MAX_ITERATIONS):
        before = r
        r = mu / torch.matmul(kernel, c[:, :, None])[:, :, 0]
        c = nu / torch.matmul(kernel.permute(0, 2, 1).contiguous(), r[:, :, None])[:, :, 0]
        if (r - before).abs().mean() < STOP:
            break
    plan = r[:, :, None] * c[:, None, :] * kernel
    return (plan * similarity).sum((1, 2)).numpy()
