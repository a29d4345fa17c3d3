"""Time cryodrgn's ``PoseSearch``; runs in cryodrgn's environment, not in ours.

``python peer_search.py JOB.json`` prints {"seconds_per_image": ..., "shifts": ...}. The decoder is
that of ``cryodrgn abinit_homo`` at its defaults; what its weights are does not change the time.
"""

import json
import sys
import time
from typing import Any

import torch
from cryodrgn import ctf, dataset, models
from cryodrgn.lattice import Lattice
from cryodrgn.pose_search import PoseSearch


def main(job: dict[str, Any]) -> dict[str, float]:
    data = dataset.ImageDataset(
        job["particles"], lazy=False, window=False, ind=list(range(job["n"]))
    )
    box = data.D
    lattice = Lattice(box, extent=0.5, device=torch.device("cpu"))
    model = models.get_decoder(
        3, box, 3, 256, "hartley", "gaussian", activation=torch.nn.ReLU, feat_sigma=0.5
    ).eval()
    search = PoseSearch(
        model,
        lattice,
        job["first_limit"],
        job["last_limit"],
        base_healpy=2,
        t_extent=job["max_shift"],
        t_ngrid=job["shift_grid"],
        niter=job["levels"],
        nkeptposes=8,
        device=torch.device("cpu"),
    )
    parameters = torch.tensor(ctf.load_ctf_for_training(box - 1, job["ctf"]))[: job["n"]]
    images = data[list(range(job["n"]))]["y"]
    seconds = []
    with torch.no_grad():
        for first in range(0, job["n"], job["batch"]):
            part = slice(first, first + job["batch"])
            some, parts = images[part], parameters[part]
            freqs = lattice.freqs2d[None] / parts[:, 0].view(-1, 1, 1)
            transfer = ctf.compute_ctf(freqs, *torch.split(parts[:, 1:], 1, 1)).view(-1, box, box)
            start = time.perf_counter()
            search.opt_theta_trans(some, ctf_i=transfer)
            seconds.append((time.perf_counter() - start) / len(some))
    return {"seconds_per_image": min(seconds), "shifts": len(search.base_shifts)}


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        print(json.dumps(main(json.load(file))))
