// A real OpenID provider for tests: node provider.mjs PORT CLIENT_SECRET REDIRECT_URI DOMAIN
import { Provider } from "oidc-provider";

const [port, secret, redirectUri, domain] = process.argv.slice(2);
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id: "portal", client_secret: secret, redirect_uris: [redirectUri] }],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "preferred_username"] },
  pkce: { required: () => true },
  findAccount: (context, id) => ({
    accountId: id,
    claims: () => ({
      sub: id,
      name: `${id} of ${domain}`,
      preferred_username: id,
      email: `${id}@${domain}`,
      email_verified: true,
    }),
  }),
});
provider.listen(Number(port), "127.0.0.1");
