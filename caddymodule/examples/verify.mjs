import { createPublicKey, verify } from "node:crypto";

const [header, payload, signature] = process.argv[2].split(".");
const decode = (part) => JSON.parse(Buffer.from(part, "base64url"));

const answer = await fetch("http://localhost:8080/v2alpha1/derivedKeys/jwks.json");
const { keys } = await answer.json();
const key = keys.find((k) => k.kid === decode(header).kid && k.kty === "OKP" && k.crv === "Ed25519");
const signed = Buffer.from(`${header}.${payload}`);
if (!key || decode(header).alg !== "EdDSA" ||
    !verify(null, signed, createPublicKey({ key, format: "jwk" }), Buffer.from(signature, "base64url"))) {
  throw new Error("the signature is not valid");
}
const claims = decode(payload);
if (claims.iss !== "https://api.example.com" || !(claims.exp > Date.now() / 1000)) {
  throw new Error("the token is of another issuer, or has expired");
}
console.log(`${claims.act} may ${claims.scp}`);
