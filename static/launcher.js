// Filters the launcher's tiles while the user types. Without scripts, the search field stays hidden.
"use strict";

const search = document.getElementById("search");

if (search) {
  const shelves = [...document.querySelectorAll(".shelf")];
  const tiles = [...document.querySelectorAll(".tile")];
  const outcome = document.getElementById("search-outcome");
  const nothing = document.getElementById("search-nothing");
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const words = new Map(tiles.map((tile) => [tile, plain(tile.textContent + " " + tile.dataset.category)]));

  const show = () => {
    const wanted = plain(search.value).split(/\s+/).filter(Boolean);
    for (const tile of tiles) tile.hidden = !wanted.every((word) => words.get(tile).includes(word));
    for (const shelf of shelves) shelf.hidden = !shelf.querySelector(".tile:not([hidden])");
    const found = tiles.filter((tile) => !tile.hidden).length;
    nothing.hidden = found > 0;
    outcome.textContent = wanted.length ? outcome.dataset.words.replace("0", found) : "";
  };

  search.addEventListener("input", show);
  search.addEventListener("keydown", (event) => {
    const first = tiles.find((tile) => !tile.hidden);
    if (event.key === "Enter" && search.value.trim() && first) first.querySelector("a").click();
    if (event.key === "Escape") { search.value = ""; show(); }
  });
  search.closest("[hidden]").hidden = false;
  show();
}
