"""The controller process: reconcile loop, publisher, workers' lives, DNS of ExternalName Services."""
