// The list of classes that misses the correct one at most as often as promised.

import { h } from "./dom.js";

/** Returns the card about the prediction set of a result. */
export function predictionSet({ prediction_set: found }) {
  const names = found.labels.length ? found.labels.join(", ") : "No class reaches its threshold (“unlike the calibration images”)";
  return h("section.card", h("h2", "Prediction set"),
    h("p", h("strong", names)),
    found.single_label ? h("p", `One class only, ${found.single_label}, up to an altered L2 norm of ${found.single_up_to}`) : null,
    h("p.small", found.text));
}
