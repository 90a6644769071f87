// Adds names for screen readers to Django's own widgets that lack one.
"use strict";

const wordsFor = (field) => field.closest(".fieldBox, .form-row, td")?.querySelector("label, legend")?.textContent.trim();

const nameThem = () => {
  for (const field of document.querySelectorAll(".select2-search__field:not([aria-label])")) {
    field.setAttribute("aria-label", wordsFor(field) || document.title);
  }
  for (const field of document.querySelectorAll("input:is(.vDateField, .vTimeField):not([aria-label])")) {
    const part = field.previousSibling?.textContent.trim() || "";
    field.setAttribute("aria-label", `${wordsFor(field) || ""} ${part}`.trim());
  }
  for (const cross of document.querySelectorAll(".select2-selection__clear:not([role])")) {
    cross.setAttribute("role", "listitem");
  }
  for (const picture of document.querySelectorAll(".help-tooltip[aria-label]:not([role])")) {
    picture.setAttribute("role", "img");
  }
};

document.addEventListener("DOMContentLoaded", () => {
  nameThem();
  new MutationObserver(nameThem).observe(document.body, { childList: true, subtree: true });
});

// Filters: a search within long lists, and menus that close on a click elsewhere or Escape.
const LONG = 9;

const addSearch = (list) => {
  const choices = [...list.querySelectorAll("li")];
  if (choices.length < LONG) return;
  const field = document.createElement("input");
  field.type = "search";
  field.placeholder = list.dataset.search;
  field.setAttribute("aria-label", list.dataset.search);
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    for (const choice of choices) choice.hidden = !choice.textContent.toLowerCase().includes(wanted);
  });
  const row = document.createElement("li");
  row.append(field);
  list.prepend(row);
  list.parentElement.addEventListener("toggle", () => list.parentElement.open && field.focus());
};

document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".filter ul").forEach(addSearch));
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll(".filter[open]")) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && document.activeElement?.closest(".filter[open]");
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

// Lists: each cell gets its column's heading as a label, for narrow screens that show each row as a card.
document.addEventListener("DOMContentLoaded", () => {
  const headings = [...document.querySelectorAll("#result_list thead th")].map((heading) => heading.querySelector(".text")?.textContent.trim());
  for (const row of document.querySelectorAll("#result_list tbody tr")) {
    [...row.cells].forEach((cell, number) => cell.tagName === "TD" && headings[number] && (cell.dataset.label = headings[number]));
  }
});

// Buttons that copy a text. Without a clipboard they stay hidden, and the text can be selected.
document.addEventListener("DOMContentLoaded", () => {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("button[data-copy]")) button.hidden = false;
});
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).value);
  button.textContent = button.dataset.copied;
});
