// Preserves the fragment of the requested page where redirects would lose it. On the way to a provider, a form sends it
// to the portal, so the provider never sees it. On the way to the portal's next page, the link carries it.
"use strict";

const fragment = location.hash.slice(1);

for (const field of document.querySelectorAll("input[name=fragment]")) field.value = fragment;

if (fragment) {
  for (const link of document.querySelectorAll("a[data-keeps-fragment]")) link.hash = fragment;
  for (const link of document.querySelectorAll("a[data-provider]")) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
      event.preventDefault();
      leaveBy(link);
    });
  }
}

const onlyWay = document.querySelector("a[data-provider][data-at-once]");
if (onlyWay) fragment ? leaveBy(onlyWay) : location.replace(onlyWay.href);

function leaveBy(link) {
  const form = document.createElement("form");
  form.method = "post";
  form.action = link.href;
  const token = document.querySelector("input[name=csrfmiddlewaretoken]").value;
  for (const [name, value] of Object.entries({ csrfmiddlewaretoken: token, fragment })) {
    form.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
  }
  document.body.append(form);
  form.submit();
}
