"""Draw README's picture: digits, what spikes make of them, and the spikes of one digit.

python docs/examples/first_look.py [FILE]
"""

import sys

from matplotlib.figure import Figure

import pvae_neuro as pn

DIGITS, STEPS, SHOWN = 12, 64, 0

model = pn.load_model("mnist")
digits, _ = pn.sample_digits()
network = pn.quantize(model, digits, pn.QuantizeConfig(topology="predictive"))
recording = pn.get_engine("reference").run(
    network, digits[:DIGITS], STEPS, seed=0, record=["latents.z"]
)
counts = recording["latents.z"][SHOWN, 1:]

figure = Figure(figsize=(9, 3.6), dpi=130, layout="constrained")
left, right = figure.subplots(1, 2, width_ratios=[3, 2])
half = DIGITS // 2
inputs = pn.plots.as_images(digits[:DIGITS], (28, 28))
outputs = pn.plots.as_images(recording.reconstruction, (28, 28))
pn.plots.image_grid(
    {
        "digits": inputs[:half],
        "from spikes": outputs[:half],
        "digits ": inputs[half:],
        "from spikes ": outputs[half:],
    },
    left,
)
pn.plots.raster(counts[:, :128], right, title="spikes of the first digit")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "docs/figures/first_look.png")
