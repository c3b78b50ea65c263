// Requests to the service that serves this page, and to no other.

/** An answer that is a problem (RFC 9457), or no answer at all. */
export class Problem extends Error {
  constructor(body, status, retryAfter = null) {
    super(body.title ?? "The service did not answer");
    this.body = body;
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

const OFFLINE = {
  title: "The service did not answer",
  detail: "The connection was lost, or the service is not running.",
  code: "offline",
};

const SESSION = "/session";
let logIn = null;
let pending = null;

/** Sets how a session is had once the service wants one. Whatever was refused for want of it is then sent again. */
export function whenUnauthenticated(ask) {
  logIn = ask;
}

/** Returns whether a person is being asked for a key, so that nothing else need be tried. */
export const isAskingForKey = () => pending !== null;

/** Sends a request and returns its response; every other status is a Problem. */
export async function send(path, options = {}) {
  if (path !== SESSION && pending) await pending;
  let response;
  try {
    response = await fetch(path, { cache: "no-store", ...options });
  } catch {
    throw new Problem(OFFLINE, 0);
  }
  if (response.ok) return response;
  if (response.status === 401 && logIn && path !== SESSION) {
    pending ??= logIn().finally(() => { pending = null; });
    await pending;
    return send(path, options);
  }
  let body = {};
  try {
    body = await response.json();
  } catch { /* no problem body: the status is all there is */ }
  throw new Problem({ title: "The service refused", detail: `It answered with status ${response.status}.`, ...body }, response.status, seconds(response));
}

function seconds(response) {
  const value = Number.parseFloat(response.headers.get("Retry-After"));
  return Number.isFinite(value) ? value : null;
}

/** Returns the JSON at a path. */
export async function get(path) {
  return (await send(path)).json();
}

/** Returns the JSON at a path, or null where there is none. */
export async function find(path) {
  try {
    return await get(path);
  } catch (problem) {
    if (problem instanceof Problem) return null;
    throw problem;
  }
}

/** Sends JSON and returns the JSON of the answer. */
export async function post(path, body, headers = {}) {
  const response = await send(path, {
    method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json", ...headers },
  });
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

const once = new Map();

function cached(path) {
  if (!once.has(path)) {
    once.set(path, get(path).catch((problem) => { once.delete(path); throw problem; }));
  }
  return once.get(path);
}

/** Returns what the page must know of the service: remedies, default task, largest body. */
export const facts = () => cached("/page/service.json");

/** Returns the description of the interface, which says what this service can do. */
export const description = () => cached("/openapi.json");

/** Returns whether the service has a route. */
export async function offers(method, path) {
  const { paths } = await description();
  return paths[path]?.[method] !== undefined;
}

/** Returns what is kept of a job for a while, or null where the service has no such route or keeps it no longer. */
export async function kept(job, figure, accept = "json") {
  const { output_ttl: seconds } = await facts();
  const expired = Date.now() - new Date(job.updated_at).getTime() > 1000 * seconds;
  if (expired || !await offers("get", `/jobs/{job_id}/${figure}`)) return null;
  try {
    return await (await send(`/jobs/${job.id}/${figure}`))[accept]();
  } catch (problem) {
    if (problem instanceof Problem) return null;
    throw problem;
  }
}

/** Returns the media types of a route's good answer. */
export async function mediaTypes(path) {
  const { paths } = await description();
  return Object.keys(paths[path]?.get?.responses?.["200"]?.content ?? {});
}

/** Returns what a person can do about a problem, or "". */
export async function remedy(code) {
  try {
    return (await facts()).remedies[code] ?? "";
  } catch {
    return "";
  }
}
