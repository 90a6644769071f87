// Names what Django's own widgets leave without a name that a screen reader could say.
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
