//! The agent that holds people's keys: one request of its protocol (draft-ietf-sshm-ssh-agent, section 3.6), no more.

use ssh_key::encoding::Decode;
use ssh_key::{HashAlg, PublicKey, Signature, SshSig};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
/// A longer reply is none.
const REPLY_BYTES_MAX: usize = 64 * 1024;
/// A person may have to touch a token or confirm first.
const WAIT: Duration = Duration::from_secs(60);

/// Has the agent behind `$SSH_AUTH_SOCK` sign.
pub(super) fn sign(key: &PublicKey, namespace: &str, message: &[u8]) -> Result<SshSig, String> {
    let socket = std::env::var_os("SSH_AUTH_SOCK").ok_or("there is no ssh-agent: $SSH_AUTH_SOCK is not set")?;
    let data = SshSig::signed_data(namespace, HashAlg::Sha512, message).map_err(|e| e.to_string())?;
    let blob = key.to_bytes().map_err(|e| e.to_string())?;
    let unreachable = |e: std::io::Error| format!("the ssh-agent can't be used: {e}");
    let mut stream = UnixStream::connect(socket).map_err(unreachable)?;
    stream.set_read_timeout(Some(WAIT)).map_err(unreachable)?;
    stream.write_all(&request(&blob, &data)?).map_err(unreachable)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(unreachable)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > REPLY_BYTES_MAX {
        return Err("the ssh-agent's reply is too long".to_owned());
    }
    let mut reply = vec![0; length];
    stream.read_exact(&mut reply).map_err(unreachable)?;
    let signature = signature(&reply)?;
    SshSig::new(key.key_data().clone(), namespace, HashAlg::Sha512, signature).map_err(|e| e.to_string())
}

fn request(key: &[u8], data: &[u8]) -> Result<Vec<u8>, String> {
    let mut body = vec![SIGN_REQUEST];
    for part in [key, data] {
        let length = u32::try_from(part.len()).map_err(|e| e.to_string())?;
        body.extend(length.to_be_bytes());
        body.extend(part);
    }
    body.extend(0_u32.to_be_bytes());
    let length = u32::try_from(body.len()).map_err(|e| e.to_string())?;
    Ok([length.to_be_bytes().as_slice(), &body].concat())
}

fn signature(reply: &[u8]) -> Result<Signature, String> {
    match reply.split_first() {
        Some((&SIGN_RESPONSE, rest)) => {
            let blob = rest.get(4..).ok_or("the ssh-agent's reply is too short")?;
            Signature::decode(&mut &*blob).map_err(|e| format!("the ssh-agent's reply can't be read: {e}"))
        }
        _ => Err("the ssh-agent does not hold this key or would not sign: `ssh-add` adds it".to_owned()),
    }
}
