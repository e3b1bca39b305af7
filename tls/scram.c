/* Messages of RFC 5802 7 read and written, keys of RFC 5802 3 by BoringSSL's HMAC and PBKDF2.
 * It knows no SMTP and no base64 around its messages. */
#include "tls/scram.h"

#include "base/check.h"

#include <openssl/base64.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/mem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

/* "n,,": no channel binding, no other identity; "biws" is its base64 (RFC 5802 5.1, c=). */
#define GS2_HEADER "n,,"
#define GS2_HEADER_BASE64 "biws"

enum { NONCE_OCTETS = SCRAM_NONCE_LEN / 4 * 3, SERVER_NONCE_MAX = 512 };

/* The server-first-message, borrowed from its text. */
struct challenge {
    struct bytes nonce;
    uint8_t salt[SCRAM_SALT_MAX];
    size_t salt_len;
    unsigned iterations;
};

static void draw_nonce(char out[SCRAM_NONCE_LEN + 1])
{
    uint8_t octets[NONCE_OCTETS];
    RAND_bytes(octets, sizeof octets);
    EVP_EncodeBlock((uint8_t *)out, octets, sizeof octets);
}

/* RFC 5802 5.1: "=" and "," are written as =3D and =2C. */
static void append_name(struct buffer *out, const char *user)
{
    for (; *user; user++) {
        if (*user == '=')
            buffer_append_str(out, "=3D");
        else if (*user == ',')
            buffer_append_str(out, "=2C");
        else
            buffer_append_byte(out, (uint8_t)*user);
    }
}

void scram_begin(struct scram *scram, const char *user, const char *nonce, struct buffer *out)
{
    CHECK(strlen(user) <= SCRAM_USER_MAX);
    *scram = (struct scram){0};
    CHECK(!nonce || strlen(nonce) <= SCRAM_NONCE_LEN);
    if (nonce)
        memcpy(scram->nonce, nonce, strlen(nonce));
    else
        draw_nonce(scram->nonce);
    buffer_init(&scram->auth_message, 8 * SCRAM_MESSAGE_MAX);
    buffer_append_str(&scram->auth_message, "n=");
    append_name(&scram->auth_message, user);
    buffer_printf(&scram->auth_message, ",r=%s", scram->nonce);
    buffer_append_str(out, GS2_HEADER);
    buffer_append_bytes(out, buffer_bytes(&scram->auth_message));
}

/* The next attribute "X=value" off the front of *rest, whose name has to be that letter. */
static bool take_attribute(struct bytes *rest, char name, struct bytes *out_value)
{
    if (rest->len < 2 || rest->at[0] != (uint8_t)name || rest->at[1] != '=')
        return false;
    struct bytes attribute = bytes_first(*rest, bytes_find(*rest, ','));
    *out_value = bytes_from(attribute, 2);
    *rest = bytes_from(*rest, attribute.len + 1);
    return true;
}

/* Ours with something added (RFC 5802 5.1), in the characters that a nonce may have. */
static bool is_nonce(const struct scram *scram, struct bytes nonce)
{
    struct bytes ours = bytes_of(scram->nonce);
    if (nonce.len <= ours.len || nonce.len > SERVER_NONCE_MAX ||
        !bytes_equal(bytes_first(nonce, ours.len), ours))
        return false;
    for (size_t i = 0; i < nonce.len; i++)
        if (nonce.at[i] < 0x21 || nonce.at[i] > 0x7e)
            return false;
    return true;
}

static bool decode(struct bytes text, uint8_t *out, size_t cap, size_t *out_len)
{
    return text.len && EVP_DecodeBase64(out, out_len, cap, text.at, text.len);
}

static const char *read_challenge(const struct scram *scram, struct bytes text,
                                  struct challenge *out)
{
    struct bytes salt, count;
    uint64_t iterations;
    if (text.len > SCRAM_MESSAGE_MAX)
        return "the server's message is too long";
    if (text.len > 2 && text.at[0] == 'm' && text.at[1] == '=')
        return "the server wants an extension of SCRAM"; /* RFC 5802 5.1: give up */
    if (!take_attribute(&text, 'r', &out->nonce) || !take_attribute(&text, 's', &salt) ||
        !take_attribute(&text, 'i', &count))
        return "the server's message lacks nonce, salt or iteration count";
    if (!is_nonce(scram, out->nonce))
        return "the server's nonce does not begin with ours";
    if (!decode(salt, out->salt, sizeof out->salt, &out->salt_len) || !out->salt_len)
        return "the server's salt is no base64";
    if (!bytes_to_u64(count, SCRAM_ITERATIONS_MAX, &iterations) ||
        iterations < SCRAM_ITERATIONS_MIN)
        return "the server's iteration count is not from 4096 to 200000";
    out->iterations = (unsigned)iterations;
    return NULL;
}

static void sign(const uint8_t key[SCRAM_DIGEST_LEN], struct bytes text,
                 uint8_t out[SCRAM_DIGEST_LEN])
{
    uint8_t *done = HMAC(EVP_sha256(), key, SCRAM_DIGEST_LEN, text.at, text.len, out, NULL);
    CHECK(done);
}

/* RFC 5802 3: the proof that we know the password, and what the server has to answer. */
static void make_proof(struct scram *scram, const struct challenge *challenge, const char *password,
                       uint8_t out_proof[SCRAM_DIGEST_LEN])
{
    uint8_t salted[SCRAM_DIGEST_LEN], client_key[SCRAM_DIGEST_LEN];
    uint8_t stored_key[SCRAM_DIGEST_LEN], key[SCRAM_DIGEST_LEN];
    struct bytes auth_message = buffer_bytes(&scram->auth_message);
    int ok = PKCS5_PBKDF2_HMAC(password, strlen(password), challenge->salt, challenge->salt_len,
                               challenge->iterations, EVP_sha256(), sizeof salted, salted);
    CHECK(ok);
    sign(salted, bytes_of("Client Key"), client_key);
    SHA256(client_key, sizeof client_key, stored_key);
    sign(stored_key, auth_message, out_proof);
    for (size_t i = 0; i < SCRAM_DIGEST_LEN; i++)
        out_proof[i] ^= client_key[i];
    sign(salted, bytes_of("Server Key"), key);
    sign(key, auth_message, scram->server_signature);
    OPENSSL_cleanse(salted, sizeof salted);
    OPENSSL_cleanse(client_key, sizeof client_key);
    OPENSSL_cleanse(stored_key, sizeof stored_key);
    OPENSSL_cleanse(key, sizeof key);
}

const char *scram_answer(struct scram *scram, struct bytes server_first, const char *password,
                         struct buffer *out)
{
    struct challenge challenge;
    uint8_t proof[SCRAM_DIGEST_LEN];
    uint8_t text[SCRAM_DIGEST_LEN * 2];
    const char *why = read_challenge(scram, server_first, &challenge);
    if (why)
        return why;
    struct buffer *message = &scram->auth_message;
    buffer_append_byte(message, ',');
    buffer_append_bytes(message, server_first);
    buffer_append_byte(message, ',');
    size_t begin = message->len;
    buffer_append_str(message, "c=" GS2_HEADER_BASE64 ",r=");
    buffer_append_bytes(message, challenge.nonce);
    CHECK(!message->overflow);
    make_proof(scram, &challenge, password, proof);
    size_t len = EVP_EncodeBlock(text, proof, sizeof proof);
    buffer_append_bytes(out, bytes_from(buffer_bytes(message), begin));
    buffer_append_str(out, ",p=");
    buffer_append(out, text, len);
    scram->answered = true;
    return NULL;
}

const char *scram_check(const struct scram *scram, struct bytes server_final)
{
    struct bytes value;
    uint8_t signature[SCRAM_DIGEST_LEN + 1];
    size_t len = 0;
    if (server_final.len > SCRAM_MESSAGE_MAX)
        return "the server's message is too long";
    if (take_attribute(&server_final, 'e', &value))
        return "the server says that it failed";
    if (!take_attribute(&server_final, 'v', &value) ||
        !decode(value, signature, sizeof signature, &len) || len != SCRAM_DIGEST_LEN)
        return "the server's message has no signature";
    if (CRYPTO_memcmp(signature, scram->server_signature, SCRAM_DIGEST_LEN) != 0)
        return "the server does not know the password: its signature is wrong";
    return NULL;
}

void scram_fini(struct scram *scram)
{
    if (scram->auth_message.at)
        OPENSSL_cleanse(scram->auth_message.at, scram->auth_message.cap);
    buffer_fini(&scram->auth_message);
    OPENSSL_cleanse(scram, sizeof *scram);
}
