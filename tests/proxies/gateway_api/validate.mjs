// Reads objects as JSON from standard input and prints, for each, what is wrong with it.
import { readFileSync } from "node:fs";

const complaints = [];
for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  const [group, version] = object.apiVersion.split("/");
  const models = await import(`@kubernetes-models/gateway-api/${group}/${version}/${object.kind}`);
  try {
    new models[object.kind](object).validate();
    complaints.push("");
  } catch (error) {
    complaints.push(error.message);
  }
}
console.log(JSON.stringify(complaints));
