//! The part of protoc's command line that prost-build uses, on protox: compile `.proto` files into
//! a file descriptor set, so that a machine without protoc can build etcd-client.

use std::process::ExitCode;

use protox::prost::Message;

fn main() -> ExitCode {
    match compile() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("protoc (protox): {error}");
            ExitCode::FAILURE
        }
    }
}

fn compile() -> Result<(), Box<dyn std::error::Error>> {
    let (mut includes, mut files, mut output) = (Vec::new(), Vec::new(), None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--version" => {
                println!("libprotoc 25.0");
                return Ok(());
            }
            "-I" => includes.extend(arguments.next()),
            "-o" => output = arguments.next(),
            other if other.starts_with("--") => {}
            other => files.push(other.to_owned()),
        }
    }
    let mut compiler = protox::Compiler::new(includes)?;
    compiler.include_imports(true).include_source_info(true).open_files(files)?;
    std::fs::write(output.ok_or("-o is missing")?, compiler.file_descriptor_set().encode_to_vec())?;
    Ok(())
}
