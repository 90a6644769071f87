// Shows the strength of a new password while the user types. It is never sent for this; the server checks separately.
"use strict";

const ROWS = ["qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "azertyuiop", "1234567890"];
const COMMON = /p[a@]ss?w(or|0r)[dt]|letmein|welcome|admin|iloveyou|secret|sunshine|princess|dragon|monkey|(19|20)\d\d/gi;
const WEAK = 36, FAIR = 52, GOOD = 70; // bits

for (const meter of document.querySelectorAll("[data-strength-of]")) {
  const password = document.getElementById(meter.dataset.strengthOf);
  const names = () => [meter.dataset.names, ...[...password.form.elements]
    .filter((each) => ["username", "display_name", "email"].includes(each.name)).map((each) => each.value)];
  const [bar, word] = [meter.querySelector("meter"), meter.querySelector("[role=status]")];
  const words = [0, 1, 2, 3, 4].map((score) => meter.dataset["words" + score]);

  password.addEventListener("input", () => {
    const score = strength(password.value, names());
    meter.hidden = !password.value;
    bar.value = score;
    word.textContent = password.value ? words[score] : "";
  });
}

// Returns 0 (too short) to 4.
function strength(password, names) {
  if ([...password].length < 8) return 0;
  const bits = guesses(withoutWords(password, names));
  return bits < WEAK ? 1 : bits < FAIR ? 2 : bits < GOOD ? 3 : 4;
}

// Attackers first try common words, years and the user's name, so each of these counts as one character.
function withoutWords(password, names) {
  let left = password.replace(COMMON, "\u0001");
  const own = names.join(" ").toLowerCase().split(/[\s@._-]+/).filter((part) => part.length > 2);
  for (const part of own) left = left.toLowerCase().includes(part) ? left.toLowerCase().replaceAll(part, "\u0001") : left;
  return left;
}

function guesses(text) {
  const characters = [...text];
  let pool = 0, surprises = 0;
  if (/[a-z]/.test(text)) pool += 26;
  if (/[A-Z]/.test(text)) pool += 26;
  if (/\d/.test(text)) pool += 10;
  if (/[ -\/:-@[-`{-~]/.test(text)) pool += 33;
  if (/[^\u0000-\u007f]/.test(text)) pool += 1000;
  characters.forEach((each, at) => { surprises += at && follows(characters[at - 1], each) ? 0.25 : 1; });
  // Repeating a few characters adds little strength.
  return Math.min(surprises, 2 * new Set(characters).size) * Math.log2(pool || 1);
}

function follows(before, after) {
  if (Math.abs(before.codePointAt(0) - after.codePointAt(0)) <= 1) return true;
  const pair = (before + after).toLowerCase();
  return ROWS.some((row) => row.includes(pair) || row.includes([...pair].reverse().join("")));
}
