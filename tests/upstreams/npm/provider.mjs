// A real OpenID provider for tests: node provider.mjs PORT CLIENT_SECRET REDIRECT_URI DOMAIN HOST
import { Provider } from "oidc-provider";

const [port, secret, redirectUri, domain, host] = process.argv.slice(2);
const provider = new Provider(`http://${host}:${port}`, {
  clients: [
    {
      client_id: "portal",
      client_secret: secret,
      redirect_uris: [redirectUri],
      post_logout_redirect_uris: [new URL("/signed-out", redirectUri).href],
    },
  ],
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
provider.listen(Number(port), host);
