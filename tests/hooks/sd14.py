"""Stable Diffusion 1.4's UNet with random weights, and what a capture of it costs.

Run as a program it prints one JSON object: bit-identity, layers, and peak memory.
"""

import json

import torch
from diffusers import UNet2DConditionModel

import attnprobe as ap

CONFIG = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "attention_head_dim": 8,
    "cross_attention_dim": 768,
}


def peak_of(work) -> tuple[int, object]:
    """Most resident memory above the present while `work` runs, bytes, and its result."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the kernel forgets the peak so far
    before = resident("VmRSS")
    result = work()
    return resident("VmHWM") - before, result


def resident(key: str) -> int:
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(key))
    return int(line.split()[1]) * 1024


def fill(model: torch.nn.Module) -> None:
    """Random weights of a sensible size; drawing each anew would take longer than a pass."""
    drawn = torch.randn(2**20)
    for weight in model.parameters():
        scale = weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.1
        flat = weight.data.view(-1)
        for start in range(0, flat.numel(), drawn.numel()):
            part = flat[start : start + drawn.numel()]
            torch.mul(drawn[: part.numel()], scale, out=part)


def main() -> None:
    torch.manual_seed(0)
    with torch.device("meta"):
        unet = UNet2DConditionModel(**CONFIG).eval()
    unet.to_empty(device="cpu")
    fill(unet)
    latent, words = torch.randn(1, 4, 64, 64), torch.randn(1, 77, 768)

    @torch.no_grad()
    def plain():
        return unet(latent, 300, words).sample

    def captured():
        with ap.capture(unet, ap.Layers(kind="self"), ap.HeadMean()) as capture:
            output = plain()
        return output, capture

    plain()
    plain_peak, expected = peak_of(plain)
    peak, (output, capture) = peak_of(captured)
    maps = sum(capture[row["name"]].nbytes for row in capture.layers)
    sums = [f.rows.double().sum(1).sub(1).abs().max().item() for f in capture.fields()]
    print(
        json.dumps(
            {
                "parameters": sum(p.numel() for p in unet.parameters()),
                "identical": torch.equal(output, expected),
                "grids": [row["grid"] for row in capture.layers],
                "calls": [row["calls"] for row in capture.layers],
                "worst_row_sum": max(sums),
                "plain_peak": plain_peak,
                "over_plain": peak - plain_peak - maps,
                "maps": maps,
            }
        )
    )


if __name__ == "__main__":
    main()
