"""Which names of arguments are hidden. One that is shown by mistake is the worse one, so the list of these is long."""

from __future__ import annotations

import pytest

from django_jobs import task
from django_jobs.tasks.sensitive import secrecy, sounds_secret, words_of


def words(text: str) -> list[str]:
    return text.split()


SECRET = words("""
    password Password PASSWORD password2 passwords user_password userPassword userpassword passwordHash passwordhash
    old_password_hash pass_word db-password PASSWORD_CONFIRM mypassword1 passwd user_passwd mysqlpasswd pwd userPwd
    passphrase ssh_passphrase passcode credential credentials aws_credentials
    token tokens access_token accessToken AccessToken ACCESSTOKEN accesstoken token2 csrftoken csrf_token bearerToken
    refreshTokens x.token jwt jwtToken id_jwt
    secret secrets client_secret clientSecret clientsecret secretKey secret_key secretkey shared-secret SECRET_2
    authorization authorization_header Authorization preauthorization http.authorization
    api_key apikey apiKey APIKey APIKEY API_KEY api-key api_keys apikeys stripeApiKey stripeapikey x-api-key api_key_2
    private_key privatekey privateKey access_key awsAccessKeyId
    card cards card_id cardNumber card_number cardnumber CARD creditCard creditcard credit_card_number creditcardnumber
    debitCard card-no customer.card cvv cvc cvv2 card_cvc
""")

HARMLESS = words("""
    postcard postcard_id postcards postCardless discard discarded discard_after wildcard scorecard cardinality cardinal
    cardboard cardiology tokenizer tokenize tokenized_text tokenizer_name secretary secretary_id secretariat
    order_id amount author authority compass passenger bypass passed key keys primary_key keyboard monkey cache_key
    api apiVersion credit debit_account access accessories private description name id x n page_number jwtless
""")


@pytest.mark.parametrize("name", SECRET)
def test_names_of_secrets_are_hidden(name):
    assert sounds_secret(name)


@pytest.mark.parametrize("name", HARMLESS)
def test_names_that_only_look_like_it_are_shown(name):
    assert not sounds_secret(name)


@pytest.mark.parametrize("separator", ["_", "-", ".", " ", "2", "__", "[0]."])
@pytest.mark.parametrize("word", ["password", "passwd", "token", "secret", "card", "apiKey", "cvv"])
def test_a_word_that_is_secret_is_so_anywhere_in_a_name(word, separator):
    assert sounds_secret(f"user{separator}{word}{separator}old")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("accessToken2", "access token"),
        ("HTTPAuthorizationHeader", "http authorization header"),
        ("señaPIN", "seña pin"),
        ("__x__", "x"),
        ("", ""),
        ("12", ""),
    ],
)
def test_a_name_is_split_at_all_that_is_no_letter_and_at_new_words_of_camel_case(name, parts):
    assert words_of(name) == parts


def test_the_setting_names_others(settings):
    settings.DJANGO_JOBS = {"SENSITIVE": ["PIN", "mother's name", "iban"]}

    assert all(map(sounds_secret, ["pin", "cardPin", "pins", "mothers_name", "mother_s_name", "IBAN2"]))
    assert not any(map(sounds_secret, ["shipping", "spin", "name", "password"]))


def test_an_empty_setting_hides_nothing_by_name(settings):
    settings.DJANGO_JOBS = {"SENSITIVE": []}

    assert not sounds_secret("password")


@task(sensitive=["pin", "rest"])
def declared(pin, number, *rest): ...


def test_a_task_declares_more():
    is_secret = secrecy(declared)

    assert [is_secret(name) for name in ("pin", "number", "rest[0]", "password")] == [True, False, True, True]


def test_nobody_knows_what_an_unknown_task_has_declared():
    assert secrecy(None)("number")
