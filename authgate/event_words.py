"""Texts of audit events in the reader's language. Rows contain machine names, so old rows have texts too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise


@dataclass(frozen=True, slots=True)
class Words:
    """The name of a kind of event, and its meaning in one sentence."""

    label: _StrPromise
    sentence: _StrPromise


EVENTS: dict[str, Words] = {
    # ---- signing in
    "sign_in": Words(_("Signed in"), _("A user signed in to the portal.")),
    "sign_out": Words(_("Signed out"), _("The user or the provider ended a sign-in.")),
    "sign_in_failed": Words(
        _("A sign-in failed"), _("A sign-in attempt failed. The account is shown only if it exists.")
    ),
    "sign_in_limited": Words(
        _("Too many sign-in attempts"),
        _("The limit for sign-in attempts was reached. Further attempts must wait."),
    ),
    "account_locked": Words(
        _("An account was locked"),
        _("Someone used the link in an e-mail about the account. A new password unlocks the account."),
    ),
    "locked_down": Words(
        _("Locked down"),
        _("An administrator ended all sessions, tokens and grants. Nobody has access until this is undone."),
    ),
    "lockdown_lifted": Words(
        _("A lockdown was undone"), _("Users have access again. Ended sessions and tokens stay ended.")
    ),
    "signed_out_of_application": Words(
        _("All users were signed out of an application"),
        _("An administrator ended all sessions and grants of an application."),
    ),
    "session_ended": Words(_("Sessions were ended"), _("A user or an administrator ended sessions.")),
    "password_changed": Words(
        _("The password was changed"), _("A user or an administrator set a new password.")
    ),
    "mails_limited": Words(
        _("Too many e-mails were requested"),
        _("The limit for e-mails was reached. No further e-mail was sent."),
    ),
    # ---- second factors
    "second_factor_failed": Words(
        _("A wrong code was entered"), _("The password was correct, but the second factor was wrong.")
    ),
    "recovery_code_used": Words(
        _("A recovery code was used"), _("A user entered a recovery code instead of another second factor.")
    ),
    "recovery_codes_made": Words(
        _("New recovery codes were created"),
        _("A user created new recovery codes. The old codes no longer work."),
    ),
    "factor_added": Words(
        _("A second factor was added"), _("A user set up an authenticator app or a passkey.")
    ),
    "factor_removed": Words(
        _("A second factor was removed"), _("A user removed an authenticator app or a passkey.")
    ),
    "factors_reset": Words(
        _("An administrator reset the second factors"),
        _("An administrator removed all second factors of a user and ended the user's sign-ins."),
    ),
    "device_remembered": Words(
        _("A device was remembered"), _("The user is no longer asked for the second factor in this browser.")
    ),
    "device_forgotten": Words(
        _("A remembered device was forgotten"), _("The user is asked for the second factor again.")
    ),
    # ---- accounts
    "user_made": Words(
        _("An account was created"),
        _("A new user signed in with a provider, and the portal created the account."),
    ),
    "registered": Words(
        _("A visitor registered"), _("A visitor created an account with the link in an e-mail.")
    ),
    "invitation_accepted": Words(_("An invitation was accepted"), _("An invited person created an account.")),
    "first_administrator_made": Words(
        _("The first administrator was created"),
        _("The setup link from the first start created an administrator."),
    ),
    "address_added": Words(
        _("An e-mail address was added"), _("A user added an e-mail address to the account.")
    ),
    "address_removed": Words(
        _("An e-mail address was removed"), _("A user removed an e-mail address from the account.")
    ),
    "address_changed": Words(
        _("The primary e-mail address was changed"), _("A user chose another primary e-mail address.")
    ),
    "token_made": Words(
        _("An API token was created"), _("A program can now use applications on the user's behalf.")
    ),
    "token_ended": Words(_("An API token was revoked"), _("Programs with this token are now refused.")),
    # ---- access
    "refused": Words(_("Access refused"), _("A signed-in user was refused access to an application.")),
    "doctor_run": Words(
        _("Proxies were tested"), _("An administrator tested the proxy of an application, or of all.")
    ),
    "access_requested": Words(_("Access was asked for"), _("A user asked the owners of an application.")),
    "access_granted": Words(
        _("Access was granted"), _("An owner granted a request. The rule for the user is in the application.")
    ),
    "access_declined": Words(_("Access was declined"), _("An owner declined a request for access.")),
    "access_review_begun": Words(
        _("A review of access began"), _("The owners of the application confirm or remove each access.")
    ),
    "access_kept": Words(
        _("Access was confirmed"), _("In a review, an owner or superuser confirmed a user's access.")
    ),
    "access_removed": Words(
        _("Access is to be removed"),
        _(
            "In a review, an owner or superuser removed a user's access. What remains in the details is a "
            "task for administrators."
        ),
    ),
    "access_task_closed": Words(
        _("A task of a review was closed"),
        _("The user lost the remaining access, or an administrator closed the task."),
    ),
    "application_changed": Words(
        _("An owner changed an application"), _("An owner changed the maintenance or the texts.")
    ),
    "rule_shared": Words(
        _("An owner changed a rule"), _("An owner added a group or a user to a rule, or removed one.")
    ),
    "group_member_added": Words(
        _("A member was added to a group"), _("A group manager added a user to the group in the details.")
    ),
    "group_member_removed": Words(
        _("A member was removed from a group"),
        _("A group manager removed a user from the group in the details."),
    ),
    "group_member_end_changed": Words(
        _("The end of a membership was changed"),
        _("A group manager set or removed the end of a user's membership of the group in the details."),
    ),
    "group_membership_ended": Words(
        _("A membership of a group ended"),
        _("The user left the group in the details at the end that was set. The portal then deleted the row."),
    ),
    "overloaded": Words(
        _("The portal was overloaded"),
        _(
            "More requests arrived at once than the portal could answer. It asked the remaining clients to "
            "try again."
        ),
    ),
    "change_undone": Words(
        _("A change was taken back"),
        _("An administrator took a change in the journal back. The rows are as they were before it."),
    ),
    # ---- OpenID Connect
    "openid_sign_in": Words(
        _("Signed in at an application"),
        _("An application received a code for the user by OpenID Connect."),
    ),
    "openid_consent": Words(
        _("A user gave consent"), _("The user agreed to share the scopes in the details with an application.")
    ),
    "openid_access_ended": Words(
        _("The access of an application was ended"),
        _("A user ended the grants and tokens of an application and withdrew the consent."),
    ),
    "openid_device_refused": Words(
        _("A user refused a device"),
        _(
            "The user entered the code of a device and refused its sign-in. An attacker may have sent the "
            "code."
        ),
    ),
    "openid_key_made": Words(
        _("A key for ID tokens was created"),
        _("From a set time on, the portal signs ID tokens with a new key."),
    ),
    "openid_logout_failed": Words(
        _("An application could not be notified of a sign-out"),
        _(
            "The application's own session may continue. The portal tried five times. The details show the "
            "error."
        ),
    ),
    "openid_secret_made": Words(
        _("A client secret was created"), _("An administrator created a secret for an OpenID Connect client.")
    ),
    "openid_secret_deleted": Words(
        _("A client secret was deleted"),
        _("An administrator deleted a secret. The client is refused if it still uses this one."),
    ),
    "openid_reuse": Words(
        _("A code or token was used twice"),
        _("The portal revoked all tokens of this grant, because an attacker may have used one of the two."),
    ),
    # ---- providers
    "group_made": Words(
        _("A group was created"), _("A provider sent a new group, and the portal created it.")
    ),
    "group_not_taken": Words(
        _("A provider's group was rejected"), _("The user is not added to this group. See the reason.")
    ),
    "groups_withheld": Words(
        _("A provider omitted its groups"),
        _("The groups of the user stay unchanged until the provider sends them again."),
    ),
    "identity_linked": Words(
        _("A provider was linked"), _("An account at a provider can now sign in to this account.")
    ),
    "identity_unlinked": Words(
        _("A provider was unlinked"), _("The account at the provider can no longer sign in to this account.")
    ),
    "upstream_failed": Words(
        _("Sign-in with a provider failed"), _("The visitor saw an error page with the number of this event.")
    ),
    "upstream_not_asked": Words(
        _("A provider could not be rechecked"),
        _("The portal could not check whether the provider still accepts the users."),
    ),
    "upstream_sign_out_failed": Words(
        _("Sign-out at a provider failed"),
        _("The user is signed out here, but may still be signed in at the provider."),
    ),
    "backchannel_logout_failed": Words(
        _("A provider's sign-out notice was refused"),
        _("The provider reported the end of a session, but the portal could not accept the report."),
    ),
    # ---- administration
    "configuration_applied": Words(
        _("A configuration file was applied"),
        _("An administrator applied a file with groups, applications, providers and clients."),
    ),
    "added": Words(_("Added"), _("An administrator added an object.")),
    "changed": Words(_("Changed"), _("An administrator changed an object.")),
    "deleted": Words(_("Deleted"), _("An administrator deleted an object.")),
    "tested": Words(_("A provider was tested"), _("An administrator tested the settings of a provider.")),
    "restored": Words(
        _("A backup was restored"),
        _("All changes made after the backup are lost. By default, all users have to sign in again."),
    ),
    "signing_key_made": Words(
        _("A signing key was created"), _("From a set time on, the portal signs X-Ikd-Jwt with a new key.")
    ),
}

REASONS: dict[str, _StrPromise] = {
    # ---- signing in
    "wrong password": _("The password was wrong."),
    "the client could not be told": _("The application's back-channel logout URI did not respond."),
    "a code was used twice": _("A code was used twice."),
    "the code of a device was used twice": _("The code of a device was used twice."),
    "a refresh token was used twice": _("A refresh token was used twice."),
    "unknown account": _("There is no such account."),
    "user disabled": _("The user is disabled."),
    "wrong code": _("The code was wrong."),
    "too many attempts": _("There were too many attempts."),
    "by a link in a mail": _("With the link in an e-mail."),
    "waits for approval": _("The account is waiting for approval by an administrator."),
    "verified address": _("Both the portal and the provider verified the same e-mail address."),
    "too many checks waited": _("Too many checks were waiting for the database."),
    "too many people signed in": _("Too many people signed in at the same time."),
    "too many connections were open": _("Too many connections were open."),
    "only counted": _("Many similar events. Only their number was recorded."),
    # ---- decisions
    "no rule admits": _("No rule for this path admits the user."),
    "no rule covers the path": _("No rule covers this path."),
    "application disabled": _("The application is disabled."),
    "maintenance": _("The application is under maintenance. Only its owners and superusers can open it."),
    "path cannot be read safely": _("The path can be read in several ways."),
    "not signed in": _("The visitor is not signed in."),
    "second factor": _("The sign-in has no second factor."),
    "recent second factor": _("The sign-in has no second factor within the minutes of the rule."),
    "passkey": _("The sign-in has no passkey, or none within the minutes of the rule."),
    "allowed_groups": _("The user is in none of the groups in the check's URL."),
    "allowed_emails": _("The address of the user is not in the check's URL."),
    "allowed_email_domains": _("The domain of the user's address is not in the check's URL."),
    "identity headers too long": _("The user is in more groups than fit into the headers."),
    "tokens too long for the headers": _("The provider's tokens do not fit into the headers."),
    "cannot be evaluated": _("The rule cannot be read."),
    "expired": _("The rule has expired."),
    "method": _("The rule applies to other methods."),
    "network": _("The rule applies to other networks."),
    "nobody chosen": _("The rule contains no group and no user."),
    "group": _("The rule contains neither the user nor a group of the user."),
    "more groups than can be taken": _("The user has more groups than the portal accepts."),
    "the provider has more groups than can be taken": _(
        "The provider has more groups than the portal accepts."
    ),
    "no group can have this name: {}": _("No group can have this name: %s"),
    "another group has this name: {}": _("Another group already has this name: %s"),
    "by an administrator": _("By an administrator."),
    "the provider left out the claim {}: its groups stay as they are": _(
        "The provider omitted the claim %s. The groups stay unchanged."
    ),
    # ---- sessions that a provider ended
    "back-channel logout by the provider": _("The provider ended the session (back-channel logout)."),
    "single logout by the provider": _("The provider ended the session (single logout)."),
    "the provider could not be asked for too long": _("The provider was unreachable for too long."),
    "the provider no longer knows the sign-in": _("The provider no longer accepts the sign-in."),
    "the provider answered for somebody else": _("The provider's response is for another user."),
    # ---- attempts
    "the state is not of this portal, or too old": _("The attempt is not from this portal, or is too old."),
    "the state is too old": _("The attempt is too old."),
    "the state is of another provider": _("The attempt belongs to another provider."),
    "the attempt began in another browser, or its cookie is gone": _(
        "The attempt began in another browser, or its cookie is missing."
    ),
    "attempts cannot be counted: is the cache reachable?": _(
        "Attempts cannot be counted. Check whether the cache is reachable."
    ),
    "the attempt was used already": _("The attempt was already used."),
    "another sign-in began meanwhile": _("Another sign-in began in the meantime."),
    "the sign-in ended meanwhile": _("The sign-in ended in the meantime."),
    "the provider was switched off meanwhile": _("The provider was disabled in the meantime."),
    "the provider or the identity was switched off meanwhile": _(
        "The provider or the identity was disabled in the meantime."
    ),
    "what the provider said cannot be read any more": _(
        "The provider's response was kept for too long and was deleted."
    ),
    "too many wait for the provider already": _("Too many users are already waiting for the provider."),
    "others arrive with the same subject or address all the time": _(
        "Other users are signing in with the same subject or address at the same time."
    ),
    # ---- accounts of providers
    "the user is disabled": _("The user is disabled."),
    "accounts with power in the administration are linked while signed in": _(
        "Administrator accounts can be linked only while signed in."
    ),
    "nobody is linked to this subject, and the provider makes no accounts": _(
        "No account is linked to this subject, and the provider does not create accounts."
    ),
    "no free name was found for a new account": _("No username is available for a new account."),
    "the identity belongs to another account": _("The identity is linked to another account."),
    "the person confirmed with another identity": _("The user confirmed with another identity."),
    "the person has a second factor, which the provider did not ask for": _(
        "The user has a second factor, which the provider did not ask for."
    ),
    # ---- reaching a provider
    "the provider cannot be reached": _("The provider cannot be reached."),
    "the provider did not answer in time": _("The provider did not answer in time."),
    "the provider's certificate is not valid for its name": _(
        "The provider's certificate is not valid for its name."
    ),
    "the provider's name is not known to the DNS": _("The provider's name was not found in the DNS."),
    "the provider's name leads inside the network: allow that for it (--allow-private)": _(
        "The provider's name points to a private network. Allow private addresses in its form, or use "
        "--allow-private."
    ),
    "the provider's name leads to an address that is nobody's service": _(
        "The provider's name points to an unusable address."
    ),
    "an address of the provider cannot be read": _("A URL of the provider cannot be read."),
    "an address of the provider is not encrypted: http:// is for the inner network only": _(
        "A URL of the provider is not encrypted. http:// is allowed only in private networks."
    ),
    "the provider's answer is larger than any honest one": _("The provider's response is too large."),
    "the provider's answer is packed, which was not asked for": _(
        "The provider compressed its response, which the portal did not request."
    ),
    "the provider answered something that is no JSON": _("The provider's response is not JSON."),
    "the provider answered JSON that is no object": _("The provider's response is JSON, but not an object."),
    "the provider sent no usable text where a name must be ({})": _(
        "The provider sent no usable text for %s."
    ),
    # ---- OpenID Connect
    "the provider has people sign in on a page that is not encrypted": _(
        "The provider's sign-in page is not encrypted."
    ),
    "the provider has people sign out on a page that is not encrypted": _(
        "The provider's sign-out page is not encrypted."
    ),
    "the discovery document was answered with status {}": _(
        "The request for the discovery document returned status %s."
    ),
    "the discovery document is of another issuer: it must be written exactly alike": _(
        "The discovery document names a different issuer. Both must match exactly."
    ),
    "the discovery document has no {}": _("The discovery document lacks %s."),
    "the discovery document has an unusable {}": _("The discovery document has an unusable %s."),
    "the provider signs ID tokens in no way that is accepted": _(
        "The provider does not sign ID tokens with an accepted algorithm."
    ),
    "the provider's keys were answered with status {}": _(
        "The request for the provider's keys returned status %s."
    ),
    "the provider's keys cannot be read": _("The provider's keys cannot be read."),
    "the provider's keys are not known": _("The provider's keys are not available yet."),
    "the provider refused: {}": _("The provider refused: %s."),
    "the provider refused the code ({})": _("The provider refused the code (%s)."),
    "the provider sent the browser back without a code": _(
        "The provider sent the browser back without a code."
    ),
    "the answer has {} twice": _("The response contains %s twice."),
    "the answer comes from another issuer (iss)": _("The response comes from another issuer (iss)."),
    "the token endpoint answered with status {}": _("The token endpoint returned status %s."),
    "the provider sent no bearer token": _("The provider sent no bearer token."),
    "the userinfo endpoint answered with status {}": _("The userinfo endpoint returned status %s."),
    "the userinfo endpoint tells of somebody else (sub)": _(
        "The userinfo endpoint names another user (sub)."
    ),
    # ---- tokens
    "the provider sent no {}, or one of an absurd length": _(
        "The provider sent no %s, or one that is too long."
    ),
    "the {} cannot be read": _("The %s cannot be read."),
    "the {} is not valid": _("The %s is not valid."),
    "the {} is of another kind": _("The %s is of another kind."),
    "the token is of another kind": _("The token is of another kind."),
    "the {} is of another kind ({})": _("The %s is of another kind (%s)."),
    "the {} is signed in a way that is not accepted": _(
        "The %s is signed with a method that is not accepted."
    ),
    "the {} is signed with a key that the provider does not publish": _(
        "The %s is signed with a key that the provider does not publish."
    ),
    "the {} has a key id that is no text": _("The key ID of the %s is not text."),
    "the {} has a time that is none": _("The %s has an invalid time."),
    "the {} has no usable subject": _("The %s has no usable subject."),
    "the {} has expired: compare the clocks": _("The %s has expired. Check the clocks."),
    "the {} is from the future: compare the clocks": _("The %s is dated in the future. Check the clocks."),
    "the {} is for another client": _("The %s is for another client."),
    "the {} is of another issuer": _("The %s is of another issuer."),
    "the {}'s signature is wrong": _("The signature of the %s is wrong."),
    "the {} lacks a claim that it must have": _("The %s lacks a required claim."),
    "the ID token belongs to another attempt (nonce)": _("The ID token belongs to another attempt (nonce)."),
    "the ID token was made for another client (azp)": _("The ID token was issued for another client (azp)."),
    "the token was made for the portal's own client": _("The token was issued for the portal's own client."),
    "the access token does not belong to the ID token (at_hash)": _(
        "The access token does not belong to the ID token (at_hash)."
    ),
    "the provider did not ask the person again (auth_time)": _(
        "The provider did not ask the user to sign in again (auth_time)."
    ),
    # ---- back-channel logout
    "a logout request is no form": _("The sign-out notice is not a form."),
    "a logout request is empty, or larger than any honest one": _(
        "The sign-out notice is empty or too large."
    ),
    "a logout request has no logout token, or several": _(
        "The sign-out notice contains no logout token, or several."
    ),
    "the logout token tells of no logout (events)": _("The logout token contains no logout event (events)."),
    "the logout token has a nonce, as ID tokens do": _(
        "The logout token has a nonce, which only ID tokens have."
    ),
    "the logout token was made too long ago": _("The logout token is too old."),
    "the logout token names neither a session nor a person": _(
        "The logout token names neither a session nor a user."
    ),
    "the logout token has a name that is none": _("The logout token has an unusable session or user."),
    "the logout token was used already": _("The logout token was already used."),
    # ---- CAS
    "the answer has a parameter twice": _("The response contains a parameter twice."),
    "the provider sent the browser back without a ticket": _(
        "The provider sent the browser back without a ticket."
    ),
    "the ticket has a form that no ticket has": _("The ticket has the wrong format."),
    "the ticket is none of this provider's service tickets": _(
        "The ticket is not a service ticket of this provider."
    ),
    "the ticket was used already": _("The ticket was already used."),
    "tickets cannot be counted: is the cache reachable?": _(
        "Tickets cannot be counted. Check whether the cache is reachable."
    ),
    "the ticket's validation was answered with status {}": _(
        "The request to validate the ticket returned status %s."
    ),
    "the provider refused the ticket ({})": _("The provider refused the ticket (%s)."),
    "the ticket came by a proxy, which is not accepted": _(
        "The ticket came through a CAS proxy, which is not accepted."
    ),
    "the provider's answer is no CAS answer": _("The provider's response is not a CAS response."),
    "the provider's answer has more than one verdict, or none": _(
        "The provider's response contains no result, or several."
    ),
    "the provider's answer has a verdict that CAS does not know": _(
        "The provider's response contains a result that CAS does not define."
    ),
    "the provider's answer names no user, or more than one": _(
        "The provider's response names no user, or several."
    ),
    "the provider's answer has more attributes than any honest one": _(
        "The provider's response has too many attributes."
    ),
}
"""Reasons of audit events, and criteria of rules that failed. `{}` stands for a part that varies."""


class Phrases:
    """Texts for machine names. `{}` in a name stands for a part that varies; the text shows it for `%s`."""

    def __init__(self, words: Mapping[str, _StrPromise]) -> None:
        self.words = words
        templates = sorted((name for name in words if "{}" in name), key=len, reverse=True)
        self._patterns = [(name, self._pattern(name)) for name in templates]
        self._found = lru_cache(maxsize=1024)(self._find)

    def __call__(self, name: str) -> str:
        """Return the text for a machine name, or an empty string if there is none."""
        template, parts = self.template_and_parts(name)
        return str(self.words[template]) % parts if parts else str(self.words.get(template, ""))

    def template_and_parts(self, name: str) -> tuple[str, tuple[str, ...]]:
        """Return the name in the table and the parts that vary. Return an unknown name unchanged."""
        return self._found(name)

    def _find(self, name: str) -> tuple[str, tuple[str, ...]]:
        if name in self.words:
            return name, ()
        for template, pattern in self._patterns:
            if match := pattern.fullmatch(name):
                return template, match.groups()
        return name, ()

    @staticmethod
    def _pattern(template: str) -> re.Pattern[str]:
        return re.compile("(.{1,100}?)".join(map(re.escape, template.split("{}"))))


reason_words = Phrases(REASONS)


def label_of(kind: str) -> str:
    """Return the label of a kind of event, or its machine name if it has no label."""
    return str(EVENTS[kind].label) if kind in EVENTS else kind


def sentence_of(kind: str) -> str:
    return str(EVENTS[kind].sentence) if kind in EVENTS else ""
