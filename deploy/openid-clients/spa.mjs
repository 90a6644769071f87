// A page in the browser with oidc-client-ts, as a public client. Tested with oidc-client-ts 3.5.0.
import { UserManager } from 'oidc-client-ts'

export const manager = new UserManager({
  authority: 'https://sso.example.com',
  client_id: 'wiki-page',
  redirect_uri: 'https://wiki.example.com/callback',
  post_logout_redirect_uri: 'https://wiki.example.com/',
  scope: 'openid profile email groups',
  // Tokens stay in sessionStorage, which ends with the tab. Userinfo has what changed since the sign-in.
  loadUserInfo: true,
  // Ends the tokens before it signs the user out at the portal.
  revokeTokensOnSignout: true,
})

// Returns the user after a sign-in or from before; null for nobody.
export async function user() {
  if (location.pathname !== '/callback') return manager.getUser()
  const signedIn = await manager.signinCallback()
  history.replaceState({}, '', '/')
  return signedIn
}
