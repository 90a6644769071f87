// A relying party on openid-client, step by step: it reads a line of JSON for each step, and writes one back.
// Arguments: issuer, host and port of the portal, client ID, secret, redirect URI.
import http from 'node:http'
import readline from 'node:readline'
import * as oidc from 'openid-client'

const [issuer, host, port, clientId, secret, redirectUri] = process.argv.slice(2)

// The portal's name is no name of this machine's: its requests go to where the tests' portal listens.
const toPortal = (url, options) =>
  new Promise((resolve, reject) => {
    const target = new URL(url)
    if (target.origin !== issuer) return reject(new Error(`${target.origin} is not the portal`))
    const headers = { ...options.headers, host: target.host, 'x-forwarded-proto': 'https' }
    const body = options.body === undefined ? undefined : String(options.body)
    if (body !== undefined) headers['content-length'] = Buffer.byteLength(body)
    const request = http.request(
      { host, port, path: target.pathname + target.search, method: options.method, headers },
      (answer) => {
        const parts = []
        answer.on('data', (part) => parts.push(part))
        answer.on('end', () =>
          resolve(new Response(Buffer.concat(parts), { status: answer.statusCode, headers: answer.headers })))
      })
    request.on('error', reject)
    request.end(body)
  })

const config = await oidc.discovery(new URL(issuer), clientId, secret, oidc.ClientSecretBasic(secret), {
  [oidc.customFetch]: toPortal,
})
const verifier = oidc.randomPKCECodeVerifier()
const state = oidc.randomState()
const nonce = oidc.randomNonce()
let tokens

const steps = {
  async begin({ scope }) {
    const url = oidc.buildAuthorizationUrl(config, {
      redirect_uri: redirectUri, scope, state, nonce,
      code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    })
    return { url: url.href }
  },
  async callback({ url }) {
    tokens = await oidc.authorizationCodeGrant(config, new URL(url), {
      pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true, maxAge: 600,
    })
    return tokens.claims()
  },
  async userinfo() {
    return oidc.fetchUserInfo(config, tokens.access_token, tokens.claims().sub)
  },
  async introspect() {
    return oidc.tokenIntrospection(config, tokens.access_token)
  },
  async refresh() {
    const before = tokens.claims().sub
    tokens = await oidc.refreshTokenGrant(config, tokens.refresh_token)
    return { same: tokens.claims().sub === before }
  },
  async revoke() {
    await oidc.tokenRevocation(config, tokens.refresh_token)
    return {}
  },
  async end({ then }) {
    const url = oidc.buildEndSessionUrl(config, { id_token_hint: tokens.id_token, post_logout_redirect_uri: then })
    return { url: url.href }
  },
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { step, ...given } = JSON.parse(line)
  let told
  try {
    told = await steps[step](given)
  } catch (error) {
    told = { failed: error.code ?? error.message, error: error.error }
  }
  process.stdout.write(`${JSON.stringify(told)}\n`)
}
