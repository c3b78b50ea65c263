// Queue and workers, models, and the test of a rule.

import { get, isAskingForKey, offers, Problem, send } from "./api.js";
import { h, show } from "./dom.js";
import { driftCard } from "./drift.js";
import { count } from "./format.js";
import { problemMessage } from "./problem.js";
import { ruleTest } from "./rule_test.js";
import { lacking, may } from "./session.js";
import { table } from "./table.js";

const REFRESH_MS = 5000;

/** Returns a small card that says whether jobs are being worked on. */
export function workersCard() {
  const body = h("div", h("p.empty", "Loading…"));
  const element = h("section.card", { "aria-labelledby": "workers" },
    h("div.row.between", h("h2", { id: "workers" }, "Service"), h("a.small", { href: "#/service" }, "Details")), body);
  const close = every(async () => {
    const { queues, problem } = await workforce();
    const waiting = await stages("waiting");
    show(body,
      problem ? h("div.message.warning", h("p.small", problem.body.detail ?? problem.body.title)) : null,
      queues && h("dl.figures", Object.entries(queues).map(([name, workers]) => h("div.figure",
        h("dt", name), h("dd", workers.length, h("small", waiting?.[name] ? ` · ${count(waiting[name])} waiting` : workers.length === 1 ? " worker" : " workers"))))));
  }, body);
  return { element, close };
}

export function serviceView() {
  const queue = h("div", h("p.empty", "Loading…"));
  const models = h("div", h("p.empty", "Loading…"));
  const rules = h("div");
  const close = every(async () => {
    const { queues, engines, problem } = await workforce();
    const [waiting, running] = await Promise.all([stages("waiting"), stages("running")]);
    show(queue, problem && problemMessage(problem, "h3"), queues && queueTable(queues, waiting, running), engines?.length ? engineTable(engines) : null,
      lacking("see how many jobs wait", "admin"));
  }, queue);
  get("/backbones").then(({ backbones }) => show(models, modelTable(backbones))).catch((problem) => show(models, problemMessage(problem, "h3")));
  offers("post", "/rules/test").then((there) => { if (there && may("admin", "submit")) show(rules, ruleTest()); }).catch(() => {});
  const element = h("div",
    h("div.page-head", h("div", h("h1", { tabindex: -1 }, "Service"), h("p", "Who works on the queues, which models are ready, and which rule applies to a series."))),
    h("div.stack",
      h("section.card", { "aria-labelledby": "queues" }, h("h2", { id: "queues" }, "Queues and workers"), queue),
      driftCard(),
      rules,
      h("section.card", { "aria-labelledby": "models" }, h("h2", { id: "models" }, "Models"), models)));
  return { element, title: "Service", close };
}

function every(refresh, body) {
  let open = true;
  let timer = null;
  const again = async () => {
    try {
      if (!isAskingForKey()) await refresh();
    } catch (problem) {
      show(body, problemMessage(problem, "h3"));
    }
    if (open) timer = setTimeout(again, REFRESH_MS);
  };
  again();
  return () => { open = false; clearTimeout(timer); };
}

/** Returns the workers; of a service without one also the problem that says so. */
async function workforce() {
  try {
    return await (await send("/health/workers")).json();
  } catch (problem) {
    if (problem instanceof Problem && problem.body.queues) return { queues: problem.body.queues, problem };
    throw problem;
  }
}

/** Returns the number of jobs in each queue, from the metrics; null where the caller does not get them. */
async function stages(kind) {
  if (!may("admin") || !await offers("get", "/metrics")) return null;
  const text = await (await send("/metrics")).text();
  const found = {};
  for (const [, name, value] of text.matchAll(new RegExp(`^certrad_stages_${kind}\\{queue="(\\w+)"\\} (\\S+)$`, "gm"))) {
    found[name] = Number(value);
  }
  return found;
}

function queueTable(queues, waiting, running) {
  return table("Queues", ["Queue", "Workers", "Waiting", "Running"], Object.entries(queues).map(([name, workers]) => [
    name, workers.length || "none", waiting ? count(waiting[name] ?? 0) : "–", running ? count(running[name] ?? 0) : "–",
  ]));
}

function engineTable(engines) {
  return table("Engines", ["Engine", "Device", "Precision", "Models"], engines.map((card) => [
    h("code", card.name), card.device, card.dtype, card.backbones.join(", "),
  ]));
}

function modelTable(backbones) {
  const sorted = [...backbones].sort((a, b) => Number(b.available) - Number(a.available));
  return table("Models", ["Model", "Weights", "Input", "Licence"], sorted.map(({ card, available }) => [
    card.title, available ? h("span.badge.certified", "ready") : h("span.badge", "not installed"), `${card.image_size}\u00a0×\u00a0${card.image_size}`, card.licence,
  ]));
}
