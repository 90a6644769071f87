// Passkeys, the only part of the portal that needs a script. A form's data-passkey is "create" or "get". The options for
// the browser are in data-options, or at the URL in data-from.
"use strict";

for (const form of document.querySelectorAll("form[data-passkey]")) {
  const trouble = form.querySelector("[data-trouble]");
  const works = window.PublicKeyCredential && PublicKeyCredential.parseRequestOptionsFromJSON;
  if (!works) {
    const tooOld = form.querySelector("[data-too-old]");
    if (tooOld) tooOld.hidden = false;
    continue;
  }
  form.hidden = false;
  // Keep the fragment of the requested page: the redirect after the form preserves it.
  if (form.dataset.from) form.action = form.dataset.from + location.hash;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (trouble) trouble.hidden = true;
    try {
      const credential = await (form.dataset.passkey === "create" ? create(form) : get(form));
      form.elements.credential.value = JSON.stringify(credential.toJSON());
      form.submit();
    } catch (error) {
      if (trouble) trouble.hidden = false;
    }
  });
}

async function create(form) {
  const options = JSON.parse(form.dataset.options).creation_options.publicKey;
  if (form.elements.passwordless && form.elements.passwordless.checked) {
    const selection = { residentKey: "required", requireResidentKey: true, userVerification: "required" };
    options.authenticatorSelection = { ...options.authenticatorSelection, ...selection };
  }
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
  return navigator.credentials.create({ publicKey });
}

async function get(form) {
  const told = form.dataset.from ? await (await fetch(form.dataset.from)).json() : JSON.parse(form.dataset.options);
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(told.request_options.publicKey);
  return navigator.credentials.get({ publicKey });
}
