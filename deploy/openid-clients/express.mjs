// An Express application with express-openid-connect: users sign in at the portal, which ends their sessions.
// Tested with express-openid-connect 3.4.0, Express 4.22.3 and memorystore 1.6.8.
// Unsafe before 2.7.2 of express-openid-connect (CVE-2022-24794).
import { readFileSync } from 'node:fs'
import express from 'express'
import openid from 'express-openid-connect'
import memorystore from 'memorystore'

const secret = (name) => readFileSync(`/etc/wiki/${name}`, 'utf8').trim()
// One process. Several share a store in Redis: npm's connect-redis.
const store = new (memorystore(openid.auth))({ checkPeriod: 3_600_000 })

const app = express()
app.use(
  openid.auth({
    issuerBaseURL: 'https://sso.example.com',
    baseURL: 'https://wiki.example.com',
    clientID: 'wiki',
    clientSecret: secret('client-secret'),
    clientAuthMethod: 'client_secret_basic',
    secret: secret('session-secret'),
    authorizationParams: { response_type: 'code', scope: 'openid profile email groups' },
    // /logout signs the user out at the portal, too.
    idpLogout: true,
    // The browser has the session's number, the store has the session.
    session: { store },
    // POST /backchannel-logout
    backchannelLogout: true,
  }),
)

app.get('/', (request, response) => {
  const { preferred_username: name, groups } = request.oidc.user
  response.json({ name, groups })
})
app.listen(3000, '127.0.0.1')
