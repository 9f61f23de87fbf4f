// Mount an explorer wherever the page has a place for one; its segments are regrouped by the server.
import { mountExplorer } from "/files/explorer.js";

async function ask(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

for (const place of document.querySelectorAll("[data-payload]")) {
  const { payload, labels } = place.dataset;
  const regroup = (threshold) => ask(`${labels}?threshold=${threshold}`);
  ask(payload)
    .then((found) => mountExplorer(place, found, labels ? { regroup } : {}))
    .catch((error) => place.append(error.message));
}
