// Every file about a result. Which ones there are, the service says.

import { facts, mediaTypes, offers, send } from "./api.js";
import { announce, h, icon, show } from "./dom.js";
import { problemMessage } from "./problem.js";

const CERTIFICATE = "/jobs/{job_id}/certificate";
const FORMS = [
  ["application/json", "Certificate", "The signed document, canonical JSON", "json"],
  ["application/vnd.in-toto+json", "in-toto attestation", "The same document in a DSSE envelope", "dsse"],
  ["application/jose", "JWS", "The same document as a signed token", "jws"],
  ["application/dicom", "DICOM structured report", "TID 1500, for the PACS", "sr.dcm"],
  ["application/fhir+json", "FHIR bundle", "R4 transaction, for the record", "fhir.json"],
];
const MS_UNTIL_REVOKED = 10_000;

export function downloads(job) {
  const list = h("ul.downloads");
  const outcome = h("div");
  const element = h("section.card", { "aria-label": "Downloads" }, h("h2", "Downloads"), list, outcome);
  const name = `certrad-${job.id.slice(0, 8)}`;
  const add = (title, words, path, ending, accept) => {
    const button = h("button.download", { type: "button", "data-download": ending }, h("strong", title), h("span", words), icon("download"));
    button.addEventListener("click", () => save(path, `${name}.${ending}`, accept).then(
      () => { show(outcome); announce(`${title} was saved.`); },
      (problem) => show(outcome, problemMessage(problem, "h3")),
    ));
    list.append(h("li", button));
  };
  fill(job, add).catch((problem) => show(outcome, problemMessage(problem, "h3")));
  return element;
}

async function fill(job, add) {
  const offered = await mediaTypes(CERTIFICATE);
  const path = `/jobs/${job.id}/certificate`;
  for (const [type, title, words, ending] of FORMS) {
    if (type === "application/dicom" && job.links.structured_report === null) continue;
    if (type === "application/fhir+json" && job.links.fhir === null) continue;
    if (type === "application/json" || offered.includes(type)) add(title, words, path, ending, type);
  }
  if (await offers("get", "/jobs/{job_id}/secondary-capture") && job.links.secondary_capture !== null) {
    add("DICOM page", "Secondary Capture that every viewer shows", `/jobs/${job.id}/secondary-capture`, "sc.dcm", "application/dicom");
  }
  const { output_ttl: seconds } = await facts();
  if (Date.now() - new Date(job.updated_at).getTime() > 1000 * seconds) return;
  add("Model input", "PNG of what the model saw, 8 bits", `/jobs/${job.id}/input`, "png", "image/png");
}

async function save(path, name, accept) {
  const content = await (await send(path, { headers: { Accept: accept } })).blob();
  const address = URL.createObjectURL(content);
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), MS_UNTIL_REVOKED);
}
